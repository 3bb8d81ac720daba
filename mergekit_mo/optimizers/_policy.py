"""A policy over paths: what layer comes next, given those so far and a preference.

Rule: a step that the rules do not allow has the probability 0, not a small one; the masks are those
of `Layers.successors` and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mergekit_mo.layers import MERGE, Layers, Path, Step

STRAIGHTNESS = 2.0
"""The first preference, in nats, for a member's next layer: searches begin near straight paths."""

_EMBEDDED = 8  # numbers that a member and a layer are learnt as, each
_MIDDLE = 0.5  # of the unit cube
_NEVER = -1e9  # a masked action's logit; its probability is 0 in single precision


class Actions:
    """The steps of all paths by number, and which of them may be taken when.

    The number `count` ends a path; as what was last taken it stands for the beginning.
    """

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self.steps: tuple[Step, ...] = tuple(
            (member, layer) for member, depth in enumerate(layers.depths) for layer in range(depth)
        )
        self.count = len(self.steps)
        self.number = {step: i for i, step in enumerate(self.steps)}
        self._masks: dict[tuple[int, Step | None], Tensor] = {}
        self._walked: dict[Path, Tensor] = {}

    def mask(self, path: Path) -> Tensor:
        """Which of the `count + 1` actions may follow a path; they depend on its end and length."""
        key = (len(path), path[-1] if path else None)
        if key not in self._masks:
            mask = torch.zeros(self.count + 1, dtype=torch.bool)
            mask[[self.number[step] for step in self.layers.successors(path)]] = True
            mask[self.count] = self.layers.may_end(path)
            self._masks[key] = mask
        return self._masks[key]

    def masks(self, path: Path) -> Tensor:
        """Which actions could follow each beginning of a path, `(t + 1) x (count + 1)`."""
        if path not in self._walked:
            beginnings = (path[:t] for t in range(len(path) + 1))
            self._walked[path] = torch.stack([self.mask(beginning) for beginning in beginnings])
        return self._walked[path]

    def hints(self) -> Tensor:
        """What the last action and the next have to do with each other, `(c + 1) x (c + 1) x 3`.

        Whether the next is the same member's next layer, or the end after its last; whether it is
        of the same member; whether it is the next layer of any.
        """
        found = torch.zeros(self.count + 1, self.count + 1, 3)
        for i, (member, layer) in enumerate(self.steps):
            for j, (following, then) in enumerate(self.steps):
                same, on = following == member, then == layer + 1
                found[i, j] = torch.tensor([same and on, same, on], dtype=torch.float)
            found[i, self.count, 0] = float(layer == self.layers.depths[member] - 1)
        first = self.layers.straight[0]
        found[self.count, self.number[first], 0] = 1.0
        return found

    def merged(self) -> Tensor:
        """Marks of the actions whose weights are the merge's own, `(c + 1) x 1`.

        Its layers, and what stands for the beginning and the end: embeddings and head are its.
        """
        pool = self.layers.pool
        marks = [float(pool[member] == MERGE) for member, _ in self.steps]
        return torch.tensor([*marks, 1.0])[:, None]


@dataclass(frozen=True)
class Episodes:
    """Paths as a policy takes them, with the action that ends each.

    Attributes:
        paths: `b` of them.
        actions: `b x t` numbers; those behind the end count for nothing.
        masks: `b x t x (c + 1)`.
        alive: `b x t` marks of the actions that were taken.
        preferences: `b x m`.
        units: `b x d`, the holes of the merges that they go through.
    """

    paths: tuple[Path, ...]
    actions: Tensor
    masks: Tensor
    alive: Tensor
    preferences: Tensor
    units: Tensor


@dataclass(frozen=True)
class Judged:
    """What a policy makes of each action: log-probability, state, entropy, `b x t`."""

    logs: Tensor
    values: Tensor
    entropy: Tensor


class MergeCode(nn.Module):
    """What the parameters of a merge add to the embedding of everything that is the merge's own.

    Args:
        actions: the steps.
        holes: how many parameters there are.
        width: of an embedding.
    """

    marks: Tensor

    def __init__(self, actions: Actions, holes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("marks", actions.merged())
        self.code = nn.Linear(holes, width)

    def forward(self, units: Tensor) -> Tensor:
        """For each of `b x d` merges and each action, `b x (c + 1) x width`."""
        found: Tensor = self.marks * self.code(units - _MIDDLE)[:, None]
        return found


class Policy(nn.Module):
    """Actor and critic on one GRU; the preference is an input, so that one serves them all.

    The merge's parameters are an input as well: a path may be worth more on another merge.

    Args:
        layers: the paths.
        goals: how many numbers a preference has.
        holes: how many a merge's parameters have, d.
        width: of everything inside.
    """

    relative: Tensor
    hints: Tensor

    def __init__(self, layers: Layers, goals: int, holes: int = 0, width: int = 32) -> None:
        super().__init__()
        self.actions = Actions(layers)
        deepest = max(layers.depths)
        members = [m for m, _ in self.actions.steps]
        depths = [i for _, i in self.actions.steps]
        self._members = torch.tensor([*members, len(layers.depths)])
        self._depths = torch.tensor([*depths, deepest])
        at = [layer / max(1, layers.depths[m] - 1) for m, layer in self.actions.steps]
        self.register_buffer("relative", _places(torch.tensor([*at, 1.0])))  # (c + 1) x 5
        self.register_buffer("hints", self.actions.hints())
        self.member = nn.Embedding(len(layers.depths) + 1, _EMBEDDED)
        self.layer = nn.Embedding(deepest + 1, _EMBEDDED)
        self.step = nn.Linear(2 * _EMBEDDED + self.relative.shape[1], width)
        self.walk = nn.GRU(width, width, batch_first=True)
        self.state = nn.Linear(width + goals, width)
        self.query = nn.Linear(width, width)
        self.worth = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        self.habit = nn.Parameter(torch.tensor([STRAIGHTNESS, 0.0, 0.0]))
        with torch.no_grad():
            self.query.weight.mul_(0.1)  # the habit alone decides at first
            self.query.bias.zero_()
        # The last to be made: without holes the rest is drawn as if there were none.
        self.merge = MergeCode(self.actions, holes, width) if holes else None

    def _embedded(self, units: Tensor) -> Tensor:
        """Every action on each of `b x d` merges, `b x (c + 1) x width`; `1 x …` without holes."""
        parts = [self.member(self._members), self.layer(self._depths), self.relative]
        plain = self.step(torch.cat(parts, dim=-1))[None]
        return torch.tanh(plain if self.merge is None else plain + self.merge(units))

    def _heads(
        self, hidden: Tensor, preferences: Tensor, last: Tensor, masks: Tensor, every: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of all actions and the state's worth, from the GRU's outputs.

        Args:
            hidden: `b x t x width`.
            preferences: `b x t x m`.
            last: `b x t` actions before.
            masks: `b x t x (c + 1)`.
            every: the embedded actions.
        """
        state = torch.tanh(self.state(torch.cat([hidden, preferences], dim=-1)))
        keys = every.mT if len(every) > 1 else every[0].T
        logits = self.query(state) @ keys / math.sqrt(every.shape[-1])
        logits = logits + self.hints[last] @ self.habit
        logits = logits.masked_fill(~masks, _NEVER)
        return torch.log_softmax(logits, dim=-1), self.worth(state)[..., 0]

    def forward(self, episodes: Episodes) -> Judged:
        """What it makes of episodes now."""
        every = self._embedded(episodes.units)
        b, steps = episodes.actions.shape
        begin = torch.full((b, 1), self.actions.count)
        last = torch.cat([begin, episodes.actions[:, :-1]], dim=1)  # b x t
        hidden, _ = self.walk(_looked_up(every, last))
        wanted = episodes.preferences[:, None].expand(b, steps, -1)
        logs, values = self._heads(hidden, wanted, last, episodes.masks, every)
        taken = logs.gather(-1, episodes.actions[..., None])[..., 0]
        chances = logs.exp()
        entropy = -(chances * logs.masked_fill(~episodes.masks, 0.0)).sum(dim=-1)
        return Judged(taken, values, entropy)

    @torch.no_grad()
    def sample(self, preferences: Tensor, units: Tensor | None = None) -> Episodes:
        """Walks one path for each of `b x m` preferences, on merges of `b x d` holes."""
        b, end = len(preferences), self.actions.count
        own = torch.zeros(b, 0) if units is None else units
        every = self._embedded(own)
        paths: list[Path] = [()] * b
        going = [True] * b
        last = torch.full((b, 1), end)
        hidden = torch.zeros(1, b, every.shape[-1])
        actions, masks, alive = [], [], []
        while any(going):
            only_end = torch.zeros(end + 1, dtype=torch.bool)
            only_end[end] = True
            mask = torch.stack(
                [
                    self.actions.mask(p) if on else only_end
                    for p, on in zip(paths, going, strict=True)
                ]
            )
            out, hidden = self.walk(_looked_up(every, last), hidden)
            logs, _ = self._heads(out, preferences[:, None], last, mask[:, None], every)
            chosen = torch.multinomial(logs[:, 0].exp(), 1)[:, 0]
            actions.append(chosen)
            masks.append(mask)
            alive.append(torch.tensor(going))
            for i, number in enumerate(chosen.tolist()):
                if going[i] and number == end:
                    going[i] = False
                elif going[i]:
                    paths[i] = (*paths[i], self.actions.steps[number])
            last = chosen[:, None]
        return Episodes(
            tuple(paths),
            torch.stack(actions, dim=1),
            torch.stack(masks, dim=1),
            torch.stack(alive, dim=1),
            preferences,
            own,
        )

    def walked(
        self, paths: list[Path], preferences: Tensor, units: Tensor | None = None
    ) -> Episodes:
        """Given paths as episodes, one for each preference and its merge."""
        end = self.actions.count
        longest = 1 + max(len(path) for path in paths)
        actions = torch.full((len(paths), longest), end)
        masks = torch.zeros((len(paths), longest, end + 1), dtype=torch.bool)
        masks[..., end] = True
        alive = torch.zeros((len(paths), longest), dtype=torch.bool)
        for i, path in enumerate(paths):
            length = len(path) + 1
            masks[i, :length] = self.actions.masks(path)
            alive[i, :length] = True
            actions[i, : length - 1] = torch.tensor([self.actions.number[s] for s in path])
        own = torch.zeros(len(paths), 0) if units is None else units
        return Episodes(tuple(paths), actions, masks, alive, preferences, own)


def _looked_up(every: Tensor, numbers: Tensor) -> Tensor:
    """The embeddings of `b x t` actions, `b x t x width`, each row's from its own merge."""
    if len(every) == 1:
        return every[0][numbers]
    return every[torch.arange(len(numbers))[:, None], numbers]


def _places(at: Tensor) -> Tensor:
    """A fixed code of relative depths, `c x 5`."""
    turns = [f(k * math.pi * at) for k in (1, 2) for f in (torch.sin, torch.cos)]
    return torch.stack([at, *turns], dim=-1)
