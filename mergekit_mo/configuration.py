"""The mergekit half of a recipe: models, slices and parameters, checked before mergekit sees them.

Rule: mergekit drops what it does not know without a word; here every unknown key is a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergekit_mo.holes import Hole, number
from mergekit_mo.layer_rules import LayerRules
from mergekit_mo.methods import Method, methods, unknown_method
from mergekit_mo.parameters import Block, Group, check_blocks, check_group
from mergekit_mo.problems import Place, Problem, near, shown
from mergekit_mo.references import absolute_reference, reference_text

CONFIG_KEYS = frozenset(
    {"merge_method", "base_model", "models", "slices", "modules", "parameters"}
    | {"dtype", "out_dtype", "tokenizer_source", "tokenizer", "chat_template"}
)
_DTYPES = ("bfloat16", "float16", "float32", "float64")
_MODEL_KEYS = frozenset({"model", "parameters"})
_SOURCE_KEYS = frozenset({"model", "layer_range", "parameters"})
_SLICE_KEYS = frozenset({"sources", "base_model", "residual_weight", "parameters"})
_MODULE_KEYS = frozenset({"slices", "models", "parameters"})
_TOKENIZER_KEYS = frozenset({"source", "tokens", "pad_to_multiple_of"})
_TOKEN_KEYS = frozenset({"source", "force"})
_EMBEDDING_KEYS = frozenset({"kind", "model", "token_id", "token"})
_FORMS = "one of models:, slices:, modules:"
_MODEL_FORM = "- model: organisation/name"


@dataclass(frozen=True)
class Configuration:
    """A mergekit configuration with holes.

    Attributes:
        tree: the configuration as mergekit reads it, models named absolutely, holes in place.
        holes: every hole, in the order of the file.
        methods: the merge methods to choose from; one where the method is not searched.
        sources: every model that is merged, the base first.
        base: the base model, if there is one.
        places: where each model is first named.
        layers: what the search may do with the layers, if it says so.
    """

    tree: Mapping[str, Any]
    holes: tuple[Hole, ...]
    methods: tuple[Method, ...]
    sources: tuple[str, ...]
    base: str | None
    places: Mapping[str, Place] = field(default_factory=dict)
    layers: LayerRules | None = None

    @property
    def is_random(self) -> bool:
        """Whether some merge of this configuration depends on the random seed."""
        return any(method.is_random for method in self.methods)

    @property
    def changes_depth(self) -> bool:
        """Whether layers are dropped, repeated or moved, so that a layer has no counterpart."""
        depth = 0
        for piece in self.tree.get("slices") or ():
            ranges = [source["layer_range"] for source in piece["sources"]]
            if any(first != depth for first, _ in ranges):
                return True
            depth = ranges[0][1]
        return bool(self.layers and self.layers.moves)


@dataclass
class _Reader:
    """Walks a configuration once, collecting problems, models and parameter blocks."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    base_unread: bool = False

    def add(self, place: Place, what: str, hint: str = "") -> None:
        self.problems.append(Problem(place, what, hint))

    def model(
        self, holder: dict[str, Any], key: str, place: Place, *, merged: bool = True
    ) -> str | None:
        """Reads a model's name, makes a local one absolute in its holder, and notes it."""
        text = reference_text(holder[key])
        if text is None:
            what = f"expected a model's name, got {shown(holder[key])}"
            self.add((*place, key), what, "a folder, or organisation/name on the Hub")
            return None
        try:
            absolute = absolute_reference(text, self.folder)
        except ValueError as error:
            self.add((*place, key), *error.args)
            return None
        holder[key] = absolute
        if merged and absolute not in self.sources:
            self.sources.append(absolute)
            self.places[absolute] = (*place, key)
        return absolute

    def keys(self, node: Mapping[str, Any], known: frozenset[str], place: Place) -> None:
        for key in node:
            if key not in known:
                self.add((*place, key), f"mergekit knows no key {key!r} here", near(key, known))

    def parameters(
        self,
        node: Mapping[str, Any],
        place: Place,
        model: str | None = None,
        base: str | None = None,
    ) -> None:
        """Notes the `parameters:` of a model, a slice, a module or the whole."""
        if "parameters" not in node or node["parameters"] is None:
            return
        here = (*place, "parameters")
        if not isinstance(node["parameters"], Mapping):
            what = f"expected a mapping from parameter to value, got {shown(node['parameters'])}"
            self.add(here, what, "parameters: {weight: 0.5}")
            return
        is_base = model is not None and model == base
        self.blocks.append(Block(here, node["parameters"], model, is_base))

    def entries(self, node: Any, place: Place, hint: str) -> Iterator[tuple[Place, dict[str, Any]]]:
        """The mappings of a non-empty list."""
        if not isinstance(node, list) or not node:
            self.add(place, f"expected a list of one entry or more, got {shown(node)}", hint)
            return
        for i, entry in enumerate(node):
            if isinstance(entry, dict):
                yield (*place, i), entry
            else:
                self.add((*place, i), f"expected a mapping, got {shown(entry)}", hint)

    def member(
        self, entry: dict[str, Any], place: Place, names: dict[str, Place], base: str | None
    ) -> None:
        """Reads an entry of `models:` or `sources:` and adds its model to the names."""
        if "model" not in entry:
            self.add(place, "has no model:", _MODEL_FORM)
        elif name := self.model(entry, "model", place):
            if name in names:
                what = f"{name} stands twice: mergekit takes each model once"
                self.add((*place, "model"), what, "keep one of the two entries")
            names.setdefault(name, place)
            self.parameters(entry, place, name, base)

    def group(self, place: Place, models: dict[str, Place], base: str | None, listed: Any) -> None:
        """Notes the models of a list that are merged together."""
        complete = isinstance(listed, list) and len(listed) == len(models)
        self.groups.append(Group(place, models, base, complete and not self.base_unread))

    def models(self, node: Any, place: Place, base: str | None) -> None:
        """Reads a `models:` list."""
        names: dict[str, Place] = {}
        for at, entry in self.entries(node, place, _MODEL_FORM):
            self.keys(entry, _MODEL_KEYS, at)
            self.member(entry, at, names, base)
        self.group(place, names, base, node)

    def slices(self, node: Any, place: Place, base: str | None) -> None:
        """Reads a `slices:` list."""
        hint = "- sources: [{model: organisation/name, layer_range: [0, 16]}]"
        for at, entry in self.entries(node, place, hint):
            self.keys(entry, _SLICE_KEYS, at)
            own = base
            if entry.get("base_model") is not None:
                own = self.model(entry, "base_model", at)
                if own is None:
                    continue
            residual = entry.get("residual_weight")
            if residual is not None and number(residual) is None:
                what = f"expected a number, got {shown(residual)}"
                self.add((*at, "residual_weight"), what, "mergekit 0.1 reads it and leaves it be")
            self.parameters(entry, at)
            names: dict[str, Place] = {}
            lengths: list[int] = []
            if "sources" not in entry:
                self.add(at, "has no sources:", hint)
                continue
            for here, source in self.entries(entry["sources"], (*at, "sources"), hint[11:-1]):
                self.keys(source, _SOURCE_KEYS, here)
                self.member(source, here, names, own)
                if (length := self._layer_range(source, here)) is not None:
                    lengths.append(length)
            if len(set(lengths)) > 1:
                counts = " and ".join(map(str, lengths))
                what = f"its sources give different numbers of layers: {counts}"
                self.add((*at, "sources"), what, "the sources of a slice are mixed layer by layer")
            self.group(at, names, own, entry["sources"])

    def _layer_range(self, source: Mapping[str, Any], place: Place) -> int | None:
        """The number of layers that a source of a slice gives, if it is told rightly."""
        hint = "layer_range: [first, end], the end not included"
        if "layer_range" not in source:
            self.add(place, "has no layer_range:", hint)
            return None
        value = source["layer_range"]
        at = (*place, "layer_range")
        if not (isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)):
            self.add(at, f"expected two whole numbers, got {shown(value)}", hint)
            return None
        first, end = value
        if first < 0 or end <= first:
            self.add(at, f"there are no layers from {first} up to {end}", hint)
            return None
        return int(end - first)

    def modules(self, node: Any, place: Place, base: str | None) -> None:
        """Reads a `modules:` mapping."""
        if not isinstance(node, Mapping) or not node:
            what = f"expected a mapping from module to slices or models, got {shown(node)}"
            self.add(place, what, "modules: {decoder: {models: […]}}")
            return
        for name, module in node.items():
            at = (*place, name)
            forms = [f for f in ("slices", "models") if isinstance(module, dict) and f in module]
            if len(forms) != 1:
                self.add(at, "a module has either slices: or models:", "{models: […]}")
                continue
            self.keys(module, _MODULE_KEYS, at)
            self.parameters(module, at)
            getattr(self, forms[0])(module[forms[0]], (*at, forms[0]), base)

    def tokenizer(self, tree: dict[str, Any]) -> None:
        """Reads the tokenizer settings; the models that these name are not merged."""
        if tree.get("tokenizer_source") not in (None, "union", "base"):
            self.model(tree, "tokenizer_source", (), merged=False)
        node, at = tree.get("tokenizer"), ("tokenizer",)
        if node is None:
            return
        if not isinstance(node, dict):
            self.add(at, f"expected a mapping, got {shown(node)}", "tokenizer: {source: union}")
            return
        self.keys(node, _TOKENIZER_KEYS, at)
        if node.get("source", "union") not in ("union", "base"):
            self.model(node, "source", at, merged=False)
        tokens = node.get("tokens")
        if tokens is not None and not isinstance(tokens, dict):
            self.add((*at, "tokens"), f"expected a mapping, got {shown(tokens)}")
            return
        for name, token in (tokens or {}).items():
            here = (*at, "tokens", name)
            if not isinstance(token, dict):
                what = f"expected a mapping, got {shown(token)}"
                self.add(here, what, "{source: organisation/name}")
                continue
            self.keys(token, _TOKEN_KEYS, here)
            source = token.get("source")
            if isinstance(source, dict) and "kind" in source:
                self.keys(source, _EMBEDDING_KEYS, (*here, "source"))
                if "model" in source:
                    self.model(source, "model", (*here, "source"), merged=False)
            elif source is not None:
                self.model(token, "source", here, merged=False)


def read_configuration(
    tree: Mapping[str, Any], folder: Path, choices: Sequence[Any] | None, choices_at: Place
) -> tuple[Configuration | None, list[Problem]]:
    """Reads the mergekit half of a recipe.

    Args:
        tree: the whole document; the `search` block is left alone.
        folder: where relative model paths start.
        choices: merge methods to search over, or None.
        choices_at: where these are named.

    Returns:
        The configuration, or None where it has no merge method or no models to speak of, and the
        problems found.
    """
    own = {key: deepcopy(value) for key, value in tree.items() if key != "search"}
    reader = _Reader(folder)
    reader.keys(own, CONFIG_KEYS, ())
    found = _methods(own, choices, choices_at, reader.add)
    base = None
    if own.get("base_model") is not None:
        base = reader.model(own, "base_model", ())
        reader.base_unread = base is None
    for key in ("dtype", "out_dtype"):
        if own.get(key) is not None and own[key] not in _DTYPES:
            reader.add((key,), f"no dtype is called {shown(own[key])}", near(own[key], _DTYPES))
    template = own.get("chat_template")
    if template is not None and not isinstance(template, str):
        what = f"expected a text, got {shown(template)}"
        reader.add(("chat_template",), what, "a template's name, or the template itself")
    if own.get("tokenizer_source") is not None and own.get("tokenizer") is not None:
        what = "stands beside tokenizer:; mergekit takes one of them"
        reader.add(("tokenizer_source",), what, "move it into tokenizer: {source: …}")
    reader.tokenizer(own)
    forms = [key for key in ("models", "slices", "modules") if own.get(key) is not None]
    if not forms:
        reader.add((), "names no models to merge", _FORMS)
    elif len(forms) > 1:
        reader.add((forms[1],), f"stands beside {forms[0]}:; mergekit takes one of them", _FORMS)
    for form in forms:
        getattr(reader, form)(own[form], (form,), base)
    reader.parameters(own, ())
    if not found:
        return None, reader.problems
    holes, problems = check_blocks(reader.blocks, reader.groups, found)
    for group in reader.groups:
        for method in found:
            at = ("merge_method",) if method.name == own["merge_method"] else choices_at
            problems += check_group(group, method, at)
    problems = list(dict.fromkeys([*reader.problems, *problems]))
    sources = [base, *reader.sources] if base else reader.sources
    order = tuple(dict.fromkeys(sources))
    return Configuration(own, tuple(holes), tuple(found), order, base, reader.places), problems


def _methods(
    tree: Mapping[str, Any],
    choices: Sequence[Any] | None,
    choices_at: Place,
    add: Callable[..., None],
) -> list[Method]:
    """The methods that may be used, the recipe's own first."""
    known = methods()
    if "merge_method" not in tree:
        add((), "has no merge_method:", unknown_method(""))
        return []
    own: Any = tree["merge_method"]
    named: list[tuple[Place, Any]] = [(("merge_method",), own)]
    named += [((*choices_at, i), choice) for i, choice in enumerate(choices or ())]
    found: list[Method] = []
    for i, (place, name) in enumerate(named):
        if not isinstance(name, str) or name not in known:
            if i == 0 or name != own:
                add(place, f"no merge method is called {shown(name)}", unknown_method(name))
        elif choices and name in choices[: i - 1] and i:
            add(place, f"{name!r} stands twice")
        elif known[name] not in found:
            found.append(known[name])
    if choices and own not in choices and isinstance(own, str) and own in known:
        what = f"{own!r} is not among the methods of {'.'.join(map(str, choices_at))}"
        add(("merge_method",), what, "the search starts from merge_method:, so list it there")
    return found
