"""The published policy of HM3: a Gaussian proto-action, and the allowed steps nearest to it.

Rule: probabilities and gradients are the proto-action's, rewards those of the step that was taken,
as published; that the two differ is the method's own flaw (a test of its parts says so).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mergekit_mo.layers import Path
from mergekit_mo.optimizers._policy import Actions, MergeCode

_EMBEDDED = 8
_FIRST_SPREAD = 0.3  # of the proto-action, in a square of width 1


@dataclass(frozen=True)
class Trajectory:
    """A path as it was walked.

    Attributes:
        path: its layers.
        actions: `t` numbers of what was taken, the end included.
        protos: `t x 2` proto-actions.
        logs: `t` log-probabilities of these.
    """

    path: Path
    actions: Tensor
    protos: Tensor
    logs: Tensor


class Gaussian(nn.Module):
    """Actor and critic of one preference.

    An action's place is its member and its layer, each scaled to the unit interval; the end stands
    one layer behind the last, between the members.

    Args:
        actions: the steps.
        unit: the merge's parameters, which are in the state as those of its layers.
        width: of everything inside.
    """

    places: Tensor
    unit: Tensor

    def __init__(self, actions: Actions, unit: Sequence[float] = (), width: int = 32) -> None:
        super().__init__()
        self.actions = actions
        depths = actions.layers.depths
        members, deepest = max(1, len(depths) - 1), max(depths)
        places = [[m / members, layer / deepest] for m, layer in actions.steps]
        self.register_buffer("places", torch.tensor([*places, [0.5, 1.0]]))  # (c + 1) x 2
        self._members = torch.tensor([*(m for m, _ in actions.steps), len(depths)])
        self._depths = torch.tensor([*(i for _, i in actions.steps), deepest])
        self.member = nn.Embedding(len(depths) + 1, _EMBEDDED)
        self.layer = nn.Embedding(deepest + 1, _EMBEDDED)
        self.walk = nn.GRU(2 * _EMBEDDED, width, batch_first=True)
        self.mean = nn.Linear(width, 2)
        self.spread = nn.Parameter(torch.full((2,), math.log(_FIRST_SPREAD)))
        self.worth = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        # The last to be made: without holes the rest is drawn as if there were none.
        self.merge = MergeCode(actions, len(unit), 2 * _EMBEDDED) if unit else None
        self.register_buffer("unit", torch.tensor([unit], dtype=torch.float))  # 1 x d

    def _read(self, numbers: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The GRU's outputs, `b x t x width`, after these actions."""
        parts = [self.member(self._members[numbers]), self.layer(self._depths[numbers])]
        steps = torch.cat(parts, dim=-1)
        if self.merge is not None:
            steps = steps + self.merge(self.unit)[0, numbers]
        found: tuple[Tensor, Tensor] = self.walk(steps, hidden)
        return found

    def _normal(self, state: Tensor) -> torch.distributions.Normal:
        spread = self.spread.exp().clamp(0.02, 1.0)
        mean = torch.sigmoid(self.mean(state))
        return torch.distributions.Normal(mean, spread, validate_args=False)

    @torch.no_grad()
    def sample(self, nearest: int, exploration: float, discount: float) -> Trajectory:
        """Walks a path.

        Args:
            nearest: allowed steps nearest to the proto-action that are looked at, M'.
            exploration: the probability of any one of these; else the one of the best state.
            discount: of a state's worth.
        """
        end = self.actions.count
        path: Path = ()
        state, hidden = self._read(torch.tensor([[end]]))
        taken, protos, logs = [], [], []
        while True:
            normal = self._normal(state[:, -1])
            proto = normal.sample()  # type: ignore[no-untyped-call]  # 1 x 2
            open_ = self.actions.mask(path).nonzero()[:, 0]
            far = (self.places[open_] - proto).norm(dim=-1)
            near = open_[far.argsort(stable=True)[:nearest]]
            if torch.rand(()) < exploration:
                number = int(near[torch.randint(len(near), ())])
            else:
                number = int(near[self._promise(near, state, hidden, discount).argmax()])
            taken.append(number)
            protos.append(proto[0])
            logs.append(normal.log_prob(proto).sum())  # type: ignore[no-untyped-call]
            if number == end:
                break
            path = (*path, self.actions.steps[number])
            state, hidden = self._read(torch.tensor([[number]]), hidden)
        return Trajectory(path, torch.tensor(taken), torch.stack(protos), torch.stack(logs))

    def _promise(self, near: Tensor, state: Tensor, hidden: Tensor, discount: float) -> Tensor:
        """What states after some steps are worth, discounted: r is 0 before the end."""
        after, _ = self._read(near[:, None], hidden.expand(-1, len(near), -1).contiguous())
        worth = self.worth(after[:, -1])[:, 0]
        here = self.worth(state[:, -1])[0, 0]
        ends = near == self.actions.count
        found: Tensor = discount * torch.where(ends, here, worth)
        return found

    def judge(self, walked: Trajectory) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of the proto-actions, worths of the states and entropies, `1 x t`."""
        begin = torch.tensor([self.actions.count])
        state, _ = self._read(torch.cat([begin, walked.actions[:-1]])[None])
        normal = self._normal(state[0])
        logs = normal.log_prob(walked.protos).sum(-1)  # type: ignore[no-untyped-call]
        entropy = normal.entropy().sum(-1)  # type: ignore[no-untyped-call]
        return logs[None], self.worth(state[0])[None, :, 0], entropy[None]
