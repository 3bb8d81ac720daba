"""The mergekit half of a recipe: models, slices and parameters, checked before mergekit sees them.

Rule: mergekit drops what it does not know without a word; here every unknown key is a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergekit_mo.holes import Hole
from mergekit_mo.methods import BASE_AMONG_MODELS, Method, methods, unknown_method
from mergekit_mo.parameters import Block, check_blocks
from mergekit_mo.problems import Place, Problem, near

CONFIG_KEYS = frozenset(
    "merge_method base_model dtype out_dtype models slices modules tokenizer_source tokenizer "
    "chat_template parameters".split()
)
_DTYPES = ("bfloat16", "float16", "float32", "float64")
_MODEL_KEYS = frozenset({"model", "parameters"})
_SOURCE_KEYS = frozenset({"model", "layer_range", "parameters"})
_SLICE_KEYS = frozenset({"sources", "base_model", "residual_weight", "parameters"})
_MODULE_KEYS = frozenset({"slices", "models", "parameters"})


@dataclass(frozen=True)
class Configuration:
    """A mergekit configuration with holes.

    Attributes:
        tree: the configuration as mergekit reads it, models named absolutely, holes in place.
        holes: every hole, in the order of the file.
        methods: the merge methods to choose from; one where the method is not searched.
        sources: every model that takes part, the base first.
        base: the base model, if there is one.
    """

    tree: Mapping[str, Any]
    holes: tuple[Hole, ...]
    methods: tuple[Method, ...]
    sources: tuple[str, ...]
    base: str | None

    @property
    def is_random(self) -> bool:
        """Whether some merge of this configuration depends on the random seed."""
        return any(method.is_random for method in self.methods)


@dataclass
class _Reader:
    """Walks a configuration once, collecting problems, models and parameter blocks."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    groups: list[tuple[Place, list[str], str | None]] = field(default_factory=list)
    """Each set of models that is merged together: its place, the models, their base."""

    def add(self, place: Place, what: str, hint: str = "") -> None:
        self.problems.append(Problem(place, what, hint))

    def model(self, holder: dict[str, Any], key: str, place: Place) -> str | None:
        """Reads a model's name, makes a local one absolute in its holder, and notes it."""
        text = _reference_text(holder[key])
        if text is None:
            self.add((*place, key), f"expected a model's name, got {holder[key]!r}")
            return None
        try:
            absolute = absolute_reference(text, self.folder)
        except ValueError as error:
            self.add((*place, key), str(error))
            return None
        holder[key] = absolute
        if absolute not in self.sources:
            self.sources.append(absolute)
        return absolute

    def keys(self, node: Mapping[str, Any], known: frozenset[str], place: Place) -> None:
        for key in node.keys() - known:
            self.add((*place, key), f"mergekit knows no key {key!r} here", near(key, known))

    def parameters(self, node: Mapping[str, Any], place: Place, model: str | None) -> None:
        """Notes the `parameters:` of a model, a slice, a module or the whole."""
        if "parameters" not in node or node["parameters"] is None:
            return
        here = (*place, "parameters")
        if not isinstance(node["parameters"], Mapping):
            self.add(here, "expected a mapping from parameter to value")
            return
        self.blocks.append(Block(here, node["parameters"], model))

    def entries(self, node: Any, place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
        """The mappings of a non-empty list."""
        if not isinstance(node, list) or not node:
            self.add(place, "expected a list with at least one entry")
            return
        for i, entry in enumerate(node):
            if isinstance(entry, dict):
                yield (*place, i), entry
            else:
                self.add((*place, i), f"expected a mapping, got {entry!r}")

    def models(self, node: Any, place: Place, base: str | None) -> None:
        """Reads a `models:` list."""
        names: list[str] = []
        for at, entry in self.entries(node, place):
            self.keys(entry, _MODEL_KEYS, at)
            if "model" not in entry:
                self.add(at, "has no model:")
            elif name := self.model(entry, "model", at):
                names.append(name)
                self.parameters(entry, at, name)
        self.groups.append((place, names, base))

    def slices(self, node: Any, place: Place, base: str | None) -> None:
        """Reads a `slices:` list."""
        for at, entry in self.entries(node, place):
            self.keys(entry, _SLICE_KEYS, at)
            own = base
            if entry.get("base_model") is not None:
                own = self.model(entry, "base_model", at)
            self.parameters(entry, at, None)
            names: list[str] = []
            lengths: set[int] = set()
            for here, source in self.entries(entry.get("sources"), (*at, "sources")):
                self.keys(source, _SOURCE_KEYS, here)
                if "model" not in source:
                    self.add(here, "has no model:")
                elif name := self.model(source, "model", here):
                    names.append(name)
                    self.parameters(source, here, name)
                if (length := self._layer_range(source, here)) is not None:
                    lengths.add(length)
            if len(lengths) > 1:
                what = f"its sources have different numbers of layers: {sorted(lengths)}"
                self.add((*at, "sources"), what)
            self.groups.append((at, names, own))

    def _layer_range(self, source: Mapping[str, Any], place: Place) -> int | None:
        """The number of layers that a source of a slice gives, if it is told rightly."""
        value = source.get("layer_range")
        at = (*place, "layer_range")
        hint = "layer_range: [first, end], the end not included"
        if not (isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)):
            self.add(at, f"expected two whole numbers, got {value!r}", hint)
            return None
        first, end = value
        if first < 0 or end <= first:
            self.add(at, f"layers {first} to {end} are none", hint)
            return None
        return int(end - first)

    def modules(self, node: Any, place: Place, base: str | None) -> None:
        """Reads a `modules:` mapping."""
        if not isinstance(node, Mapping) or not node:
            self.add(place, "expected a mapping from module to slices or models")
            return
        for name, module in node.items():
            at = (*place, name)
            if not isinstance(module, dict) or ("slices" in module) == ("models" in module):
                self.add(at, "a module has either slices: or models:")
                continue
            self.keys(module, _MODULE_KEYS, at)
            self.parameters(module, at, None)
            reader = self.slices if "slices" in module else self.models
            key = "slices" if "slices" in module else "models"
            reader(module[key], (*at, key), base)


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
    for key in ("dtype", "out_dtype"):
        if own.get(key) is not None and own[key] not in _DTYPES:
            reader.add((key,), f"no dtype {own[key]!r}", near(own[key], _DTYPES))
    if own.get("tokenizer_source") is not None and own.get("tokenizer") is not None:
        reader.add(("tokenizer_source",), "stands beside tokenizer:; mergekit takes one of them")
    _tokenizer_models(own, reader)
    forms = [key for key in ("models", "slices", "modules") if own.get(key) is not None]
    if len(forms) != 1:
        what = f"has {' and '.join(forms)}" if forms else "has no models"
        reader.add((forms[1],) if forms else (), what, "one of models:, slices:, modules:")
    for form in forms:
        getattr(reader, form)(own[form], (form,), base)
    reader.parameters(own, (), None)
    if reader.problems and not found:
        return None, reader.problems
    holes, problems = check_blocks(reader.blocks, reader.groups, found)
    problems = [*reader.problems, *problems, *_check_groups(reader.groups, found, own)]
    sources = [base, *reader.sources] if base else reader.sources
    order = tuple(dict.fromkeys(sources))
    return Configuration(own, tuple(holes), tuple(found), order, base), problems


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
    named: list[tuple[Place, Any]] = [(("merge_method",), tree["merge_method"])]
    for i, choice in enumerate(choices or ()):
        if choice != tree["merge_method"]:
            named.append(((*choices_at, i), choice))
    found = []
    for place, name in named:
        if isinstance(name, str) and name in known:
            found.append(known[name])
        else:
            add(place, f"no merge method is called {name!r}", unknown_method(name))
    return found


def _check_groups(
    groups: Sequence[tuple[Place, list[str], str | None]],
    found: Sequence[Method],
    tree: Mapping[str, Any],
) -> Iterator[Problem]:
    """Whether each set of models that is merged together suits the merge method."""
    for place, names, base in groups:
        for method in found:
            if method.needs_base and base is None:
                what = f"{method.name} needs a base_model:"
                yield Problem(("merge_method",), what, "the model that the others were made from")
                continue
            inputs = list(dict.fromkeys(names))
            if len(inputs) < len(names):
                yield Problem(place, "names a model twice", "mergekit takes each model once")
            if base and base not in inputs and method.name in BASE_AMONG_MODELS:
                what = f"{method.name} takes base_model: only from among the models"
                yield Problem(("base_model",), what, f"one of: {', '.join(inputs)}")
                continue
            # mergekit adds the base to `models:` where it is missing, but not to slices.
            if base and base not in inputs and "slices" not in place:
                inputs.append(base)
            if problem := method.inputs_problem(inputs, base):
                yield Problem(place, problem)


def _tokenizer_models(tree: dict[str, Any], reader: _Reader) -> None:
    """Makes the models absolute that tokenizer settings name."""
    named = tree.get("tokenizer_source")
    if isinstance(named, str) and named not in ("union", "base"):
        reader.model(tree, "tokenizer_source", ())
    tokenizer = tree.get("tokenizer")
    if isinstance(tokenizer, dict) and tokenizer.get("source") not in (None, "union", "base"):
        reader.model(tokenizer, "source", ("tokenizer",))


def _reference_text(node: Any) -> str | None:
    """A model reference in mergekit's text form, `path@revision+lora@revision`."""
    if isinstance(node, str) and node.strip():
        return node
    if isinstance(node, Mapping) and node.keys() <= {"model", "lora", "path", "revision"}:
        if "path" in node and isinstance(node["path"], str):
            revision = node.get("revision")
            return f"{node['path']}@{revision}" if revision else node["path"]
        inner = _reference_text(node.get("model"))
        lora = _reference_text(node["lora"]) if node.get("lora") else ""
        return None if inner is None or lora is None else inner + (f"+{lora}" if lora else "")
    return None


def absolute_reference(text: str, folder: Path) -> str:
    """A model reference whose local folders are absolute; ids of the Hub stay as they are.

    Raises:
        ValueError: it names a folder that does not exist, or is no reference.
    """
    parts = text.split("+")
    if len(parts) > 2 or any(part.count("@") > 1 or not part for part in parts):
        raise ValueError(f"{text!r} is no model: write path@revision+adapter@revision")
    absolute = []
    for part in parts:
        path, at, revision = part.partition("@")
        local = folder / Path(path).expanduser()
        if local.is_dir():
            absolute.append(str(local.resolve()) + at + revision)
        elif path.startswith((".", "/", "~")) or path.count("/") > 1:
            raise ValueError(f"no folder {local}; it is looked for beside the recipe")
        else:
            absolute.append(part)
    return "+".join(absolute)
