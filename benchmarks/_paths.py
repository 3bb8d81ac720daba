"""Every path over the layers of a family's three sources, scored once: the exhaustive truth.

Rule: a table holds the answers of all items; a path is six layers, each of one of the sources, and
everything else (embeddings, final norm, head) is the uniform merge's, whatever the path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path as Folder
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._memo import STEP, About, Memo, Row, rounded
from benchmarks.families import (
    FAMILIES,
    LAYERS,
    ROOT,
    Family,
    located,
    read_items,
    trained,
    weights_digest,
)
from mergekit_mo.layers import Layers, Path
from mergekit_mo.pareto import Matrix, hypervolume, nondominated
from mergekit_mo.scales import REFERENCE

DATA = ROOT / "benchmarks" / "data"
CACHE = ROOT / ".cache" / "paths"
TABLES = ("wren", "lark", "heron", "owl")
"""The families that have a table; wren and lark are for tuning."""

_REFERENCE = b"parent.."  # seven bytes and a number


@dataclass(frozen=True)
class Table:
    """A family's paths and what they scored.

    Attributes:
        name: the family's.
        goals: what is scored, in bits per byte.
        layers: the paths.
        scores: `m` anchored scores by path: 0 the worst and 1 the best of base and sources.
        parents: `(K + 1) x m`, base and sources on the same scales.
    """

    name: str
    goals: tuple[str, ...]
    layers: Layers
    scores: Mapping[Path, tuple[float, ...]]
    parents: Matrix

    @cached_property
    def front(self) -> Matrix:
        """The exact front, `k x m`."""
        Y = np.array(list(self.scores.values()))  # n x m
        return Y[nondominated(Y)]

    @cached_property
    def most(self) -> float:
        """The exact front's hypervolume from the reporting reference point."""
        return self.volume(self.front)

    def volume(self, Y: Matrix) -> float:
        """The hypervolume of `n x m` scores from the reporting reference point."""
        return hypervolume(Y, np.full(len(self.goals), REFERENCE))


@cache
def table(name: str) -> Table:
    """The shipped table of a family.

    Raises:
        FileNotFoundError: it has none, or not all of its paths are scored.
    """
    family = FAMILIES[name]
    memo = memo_of(family)
    paths = list(every_path(family))
    missing = [path for path in paths if memo.get(key(path)) is None]
    if missing or memo.about is None:
        raise FileNotFoundError(f"{name}: {len(missing)} of {len(paths)} paths are not scored")
    values = _bits(memo.about, [memo.rows[key(path)] for path in paths], family)  # n x m
    own = _bits(memo.about, [memo.rows[parent_key(i)] for i in range(4)], family)  # 4 x m
    worst, best = own.max(axis=0), own.min(axis=0)
    scores = (worst - values) / (worst - best)  # n x m
    rows = {path: tuple(row) for path, row in zip(paths, scores.tolist(), strict=True)}
    return Table(name, family.goals, layers_of(family), rows, (worst - own) / (worst - best))


def layers_of(family: Family) -> Layers:
    """The paths of a family: each layer from any source, none skipped, none twice."""
    return Layers(family.models[1:], (LAYERS,) * 3, LAYERS, LAYERS)


def every_path(family: Family) -> Iterator[Path]:
    """All of them, in a fixed order."""
    for members in product(range(len(family.domains)), repeat=LAYERS):
        yield tuple((member, layer) for layer, member in enumerate(members))


def key(path: Path) -> bytes:
    """A path's key in its memo."""
    return bytes(member for member, _ in path).ljust(8, b"\xff")


def parent_key(number: int) -> bytes:
    """The key of the base, number 0, or of a source."""
    return _REFERENCE[:7] + bytes([number])


def memo_of(family: Family) -> Memo:
    """The rows of a family, shipped and made since."""
    return Memo(family.digest, DATA / f"paths-{family.name}.memo.xz", CACHE / family.name)


def _bits(about: About, rows: Sequence[Row], family: Family) -> Matrix:
    """Bits per byte, `n x m`."""
    answers = np.array(rows, dtype=float) * STEP  # n x items, then two places of no use here
    found, at = [], 0
    for goal in family.goals:
        sizes = about.sizes[goal]
        nats = answers[:, at : at + len(sizes)].sum(axis=1)
        found.append(nats / sum(sizes) / math.log(2))
        at += len(sizes)
    return np.column_stack(found)


def score_all(family: Family) -> Iterator[int]:
    """Scores what is missing, and yields the number of rows after each; may be stopped."""
    memo = memo_of(family)
    wanted = [path for path in every_path(family) if memo.get(key(path)) is None]
    parents = [i for i in range(4) if memo.get(parent_key(i)) is None]
    if not wanted and not parents:
        return
    live = Stacks(family)
    for i in parents:
        memo.put(parent_key(i), live.parent(i), live.about)
    for path in wanted:
        memo.put(key(path), live.row(path), live.about)
        yield len(memo)


class Stacks:
    """A family's models in memory, whose layers are stacked and asked; nothing is merged again.

    What a path's first layers gave is kept, so that paths in their order cost little: over all
    paths, a quarter of the layers.
    """

    def __init__(self, family: Family) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from mergekit_mo.merging import Merger
        from mergekit_mo.options import MergeFlags

        torch.set_num_threads(1)
        folder: Folder = trained(family, print)
        items = {goal: read_items(folder / "tasks" / f"{goal}.json") for goal in family.goals}
        tokenizer = AutoTokenizer.from_pretrained(folder / "base")
        names = [model.partition("/")[2] for model in family.models]
        self._parents = [
            AutoModelForCausalLM.from_pretrained(folder / n, dtype=torch.float32).eval()
            for n in names
        ]
        self.merge: Any = Merger(MergeFlags(num_threads=1), "cpu").merge(uniform(family)).model
        sizes = {goal: [len(text.encode()) for text in texts] for goal, texts in items.items()}
        self.about = About(family.digest, weights_digest(family), sizes)
        self.texts = [text for texts in items.values() for text in texts]
        self._batches = _batches(tokenizer, self.texts)
        self._states: list[tuple[Path, list[Any]]] = []

    def row(self, path: Path) -> Row:
        """The answers of a path to all items."""
        import torch

        with torch.inference_mode():
            while self._states and path[: len(self._states[-1][0])] != self._states[-1][0]:
                self._states.pop()
            if not self._states:
                embed = self.merge.model.embed_tokens
                self._states.append(((), [embed(batch.given) for batch in self._batches]))
            for at in range(len(self._states) - 1, len(path)):
                member, layer = path[at]
                block = self._parents[1 + member].model.layers[layer]
                before = self._states[-1][1]
                self._states.append((path[: at + 1], [self._through(block, h) for h in before]))
            return rounded(self._answers(self.merge, self._states[-1][1]), 0.0)

    def parent(self, number: int) -> Row:
        """The answers of the base, number 0, or of a source."""
        import torch

        model = self._parents[number]
        with torch.inference_mode():
            states = [model.model.embed_tokens(batch.given) for batch in self._batches]
            for block in model.model.layers:
                states = [self._through(block, hidden) for hidden in states]
            return rounded(self._answers(model, states), 0.0)

    def _through(self, block: Any, hidden: Any) -> Any:
        """A layer's output, `b x t x w`; without a mask its attention is causal."""
        import torch

        places = torch.arange(hidden.shape[1])[None]
        turned = self.merge.model.rotary_emb(hidden, places)
        return block(hidden, attention_mask=None, position_ids=places, position_embeddings=turned)

    def _answers(self, model: Any, states: list[Any]) -> NDArray[np.float64]:
        """Negative log-likelihoods of all items from the last layer's output."""
        from torch.nn.functional import cross_entropy

        nats = np.empty(len(self.texts))
        for batch, hidden in zip(self._batches, states, strict=True):
            logits = model.lm_head(model.model.norm(hidden[batch.asked]))  # k x v
            losses = cross_entropy(logits.float(), batch.wanted, reduction="none").double()
            nats[batch.items] = np.bincount(batch.rows, losses.numpy(), len(batch.items))
        return nats


@dataclass(frozen=True)
class _Batch:
    """Items of about one length.

    Attributes:
        given: `b x t` tokens, padded on the right, where causal attention never looks from.
        asked: `b x t` marks of the places that a token is wanted at.
        wanted: `k` tokens.
        rows: `k`, whose they are.
        items: `b`, which items these are.
    """

    given: Any
    asked: Any
    wanted: Any
    rows: NDArray[np.int_]
    items: NDArray[np.int_]


def _batches(tokenizer: Any, texts: Sequence[str], size: int = 64) -> list[_Batch]:
    """Items as tokens, each after an end token, as the harness asks them."""
    import torch

    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    order = np.array(sorted(range(len(ids)), key=lambda i: len(ids[i])))
    found = []
    for at in range(0, len(order), size):
        items = order[at : at + size]
        longest = max(len(ids[i]) for i in items)
        given = torch.full((len(items), longest), tokenizer.eos_token_id)
        asked = torch.zeros((len(items), longest), dtype=torch.bool)
        for row, i in enumerate(items):
            given[row, 1 : len(ids[i])] = torch.tensor(ids[i][:-1])
            asked[row, : len(ids[i])] = True
        wanted = torch.tensor([token for i in items for token in ids[i]])
        rows = np.repeat(np.arange(len(items)), [len(ids[i]) for i in items])
        found.append(_Batch(given, asked, wanted, rows, items))
    return found


def uniform(family: Family) -> dict[str, Any]:
    """The merge that embeddings, norm and head come from: the mean of the sources' differences."""
    base, *sources = family.models
    weight = {"parameters": {"weight": 1 / len(sources)}}
    tree = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "dtype": "float32",
        "parameters": {"normalize": False},
        "models": [{"model": source, **weight} for source in sources],
    }
    return dict(located(tree, family))


__all__ = ["TABLES", "Stacks", "Table", "every_path", "memo_of", "score_all", "table"]
