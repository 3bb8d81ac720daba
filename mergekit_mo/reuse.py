"""What stands in the resident model already is not merged again.

Rule: a tensor is left as it is if its key is that of last time: everything that its merge depends
on, by content. Where a method may draw random numbers, the generators must also stand where they
stood, and are moved to where the merge left them.

mergekit's own equality does not serve: equal tasks of two plans differ, since its maps compare by
identity (0.1.5).
"""

from __future__ import annotations

import hashlib
import random
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mergekit.graph import Task
from mergekit.io.tasks import SaveTensor
from pydantic import BaseModel

SETTLED_METHODS = frozenset(
    {
        *("breadcrumbs", "breadcrumbs_ties", "karcher", "linear", "model_stock", "multislerp"),
        *("nuslerp", "passthrough", "sce", "slerp", "task_arithmetic", "ties"),
    }
)
"""Methods of mergekit that draw no random numbers; of others we do not know."""

_State = tuple[bytes, ...]
_Known = dict[int, str]


class Unchanged:
    """Stands for a tensor that is in the model already."""

    def to(self, *_args: Any, **_kwargs: Any) -> Unchanged:
        """Itself: mergekit's `SaveTensor` asks for a number format."""
        return self


UNCHANGED = Unchanged()


@dataclass(frozen=True)
class _Note:
    """What was written into the model under a name.

    Attributes:
        key: of its merge.
        digest: of the tensor.
        before: where the generators stood; None if nobody looked.
        after: where they stood when it was merged.
    """

    key: str
    digest: bytes
    before: _State | None
    after: _State | None


class Memory:
    """What stands in one model, tensor by tensor.

    Args:
        device: where merging draws its random numbers.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.reused = 0
        self._model: weakref.ref[Any] | None = None
        self._notes: dict[str, _Note] = {}
        self._keys: dict[str, str] = {}
        self._states: dict[str, tuple[_State, _State]] = {}

    def forget(self) -> None:
        """Forgets everything: the model was changed by other means."""
        self._model = None
        self._notes.clear()

    def plan(self, model: Any, saves: Sequence[SaveTensor], method: str) -> Sequence[SaveTensor]:
        """The tasks that are left to run; those of random methods look at the generators first.

        Args:
            model: into which they will write.
            saves: one task for each tensor of the merge.
            method: the merge method.
        """
        if self._model is None or self._model() is not model:
            self.forget()
            self._model = weakref.ref(model)
        self.reused = 0
        known: _Known = {}
        self._keys = {save.tensor_name: _key(save, known) for save in saves}
        self._states = {}
        if method not in SETTLED_METHODS:
            return [
                save.model_copy(
                    update={
                        "tensor_task": _Remembered(
                            inner=save.tensor_task, name=save.tensor_name, memory=self
                        )
                    }
                )
                for save in saves
            ]
        left = [save for save in saves if not self.stands(save.tensor_name)]
        self.reused = len(saves) - len(left)
        return left

    def stands(self, name: str) -> bool:
        """Whether what a name's merge would give is in the model, the generators apart."""
        note = self._notes.get(name)
        return note is not None and note.key == self._keys[name]

    def digest(self, name: str) -> bytes:
        """The digest of a tensor that stands."""
        return self._notes[name].digest

    def overwrites(self, name: str) -> None:
        """Notes that a tensor is about to be written: what stood there is gone."""
        self._notes.pop(name, None)

    def wrote(self, name: str, digest: bytes) -> None:
        """Notes that a tensor was written."""
        before, after = self._states.get(name, (None, None))
        self._notes[name] = _Note(self._keys[name], digest, before, after)

    def skip(self, name: str) -> bool:
        """Moves the generators past a tensor's merge, if it would give what stands there."""
        note = self._notes.get(name)
        if note is None or not self.stands(name) or note.after is None:
            return False
        if note.before != self._state():
            return False
        if note.after != note.before:
            self._restore(note.after)
        self.reused += 1
        return True

    def drew(self, name: str, before: _State) -> None:
        """Notes where the generators stood before a tensor's merge, and stand now."""
        self._states[name] = before, self._state()

    def _state(self) -> _State:
        states = [torch.get_rng_state().numpy().tobytes()]
        if self.device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self.device).numpy().tobytes())
        elif self.device.type != "cpu":
            states.append(repr(object()).encode())  # a generator that we cannot move: never equal
        kind, words, *rest = np.random.get_state()
        states.append(f"{random.getstate()} {kind} {rest}".encode())
        states.append(np.asarray(words).tobytes())
        return tuple(states)

    def _restore(self, state: _State) -> None:
        """Moves torch's generators; merge methods of mergekit draw from no others."""
        torch.set_rng_state(torch.frombuffer(bytearray(state[0]), dtype=torch.uint8))
        if self.device.type == "cuda":
            bits = torch.frombuffer(bytearray(state[1]), dtype=torch.uint8)
            torch.cuda.set_rng_state(bits, self.device)


class _Remembered(Task[Any], arbitrary_types_allowed=True):  # type: ignore[misc,call-arg]
    """A tensor's merge that is not run where it would give what stands in the model.

    In the graph it takes the place of the merge, so that the order of execution stays.
    """

    inner: Any
    name: str
    memory: Any

    def arguments(self) -> dict[str, Task[Any]]:
        """Those of the merge."""
        found: dict[str, Task[Any]] = self.inner.arguments()
        return found

    def priority(self) -> int:
        """As the merge's."""
        return int(self.inner.priority())

    def group_label(self) -> str | None:
        """As the merge's."""
        label: str | None = self.inner.group_label()
        return label

    def uses_accelerator(self) -> bool:
        """As the merge."""
        return bool(self.inner.uses_accelerator())

    def main_thread_only(self) -> bool:
        """As the merge."""
        return bool(self.inner.main_thread_only())

    def duplicate_per_gpu(self) -> bool:
        """As the merge."""
        return bool(self.inner.duplicate_per_gpu())

    def execute(self, **arguments: Any) -> Any:
        """Merges, or says that nothing changed."""
        memory: Memory = self.memory
        if memory.skip(self.name):
            return UNCHANGED
        before = memory._state()
        result = self.inner.execute(**arguments)
        memory.drew(self.name, before)
        return result


def _key(save: SaveTensor, known: _Known) -> str:
    """Tells one tensor's merge from another, by everything that it depends on."""
    text = f"{_content(save.tensor_task, known)} {save.dtype} {save.optional}"
    return hashlib.sha256(text.encode()).hexdigest()


def _content(value: Any, known: _Known) -> str:
    """A value as a text; two that are alike have the same content.

    Args:
        value: of a task.
        known: texts of objects that many tensors share; they live as long as their plan.
    """
    if isinstance(value, str | bytes | int | float | bool | None):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, BaseModel):
        if id(value) not in known:
            kind = type(value)
            fields = [_content(getattr(value, name), known) for name in kind.model_fields]
            known[id(value)] = f"{kind.__module__}.{kind.__qualname__}({','.join(fields)})"
        return known[id(value)]
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({','.join([_content(entry, known) for entry in value])})"
    if isinstance(value, Mapping) or (hasattr(value, "items") and hasattr(value, "keys")):
        pairs = [f"{_content(key, known)}:{_content(v, known)}" for key, v in value.items()]
        return f"map({','.join(sorted(pairs))})"
    if isinstance(value, torch.dtype | type):
        return repr(value)
    # Nothing that we know how to compare: unlike all others, itself included.
    return f"unknown {_next()}"


_count = iter(range(2**62))


def _next() -> int:
    return next(_count)
