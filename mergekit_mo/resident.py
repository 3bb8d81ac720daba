"""A model that stays in memory while its weights change: merges are written straight into it.

Rule: the module is exchanged only when its configuration changes (depth, vocabulary, dtype); every
other merge writes into the parameters that are there. Small modules are kept for the next time.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.initialization import no_init_weights

from mergekit_mo.digests import Digests, combined_digest
from mergekit_mo.reuse import Memory, Unchanged

_SHELF = 64 * 2**20  # bytes of modules of other shapes; searches over paths change the depth often


class MergeError(RuntimeError):
    """A merge that gave no usable model."""


class Resident:
    """One causal language model, and the digest of what was written into it.

    Args:
        device: where it is; of a spread one, where its inputs go first.
        spread: whether its layers are divided among all devices of that kind that there are.
    """

    def __init__(self, device: str, spread: bool = False) -> None:
        self.device = torch.device(device)
        self.spread = spread
        self.model: PreTrainedModel | None = None
        self._shape: str | None = None
        self._shelf: dict[str, PreTrainedModel] = {}

    def prepare(self, config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        """The module for a configuration: the one at hand if it fits, else a kept or a new one.

        Args:
            config: of the model to be.
            dtype: of its parameters.
        """
        shape = f"{config.to_json_string(use_diff=False)} {dtype}"
        if self.model is None or shape != self._shape:
            self._put_away()
            self.model = self._shelf.pop(shape, None) or self._built(config, dtype)
            self._shape = shape
        return self.model

    def _put_away(self) -> None:
        """Keeps a small module, and frees a large one before the next takes its place."""
        if self.model is not None and self._shape is not None and not self.spread:
            self._shelf[self._shape] = self.model
        self.model = None
        while sum(map(_size, self._shelf.values())) > _SHELF:
            self._shelf.pop(next(iter(self._shelf)))

    def _built(self, config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        with no_init_weights():
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        model.tie_weights()
        return self._placed(model).eval().requires_grad_(False)

    def replace(self, model: PreTrainedModel) -> PreTrainedModel:
        """Takes over a module that was made elsewhere."""
        self.model = self._placed(model).eval().requires_grad_(False)
        self._shape = None  # the next merge builds its own again
        return self.model

    def _placed(self, model: PreTrainedModel) -> PreTrainedModel:
        """The module where it is to be.

        Raises:
            MergeError: the devices that it would be spread over are too small for it.
        """
        if not self.spread:
            return model.to(self.device)
        from accelerate import dispatch_model, infer_auto_device_map
        from accelerate.utils import get_balanced_memory

        whole = model._no_split_modules
        memory = get_balanced_memory(model, no_split_module_classes=whole)
        if self.device.type != "cpu":
            memory.pop("cpu", None)
        places = infer_auto_device_map(model, memory, no_split_module_classes=whole)
        if self.device.type != "cpu" and {"cpu", "disk"} & set(places.values()):
            what = f"the merge does not fit on {len(memory)} devices"
            raise MergeError(f"{what}: raise --gpus-per-trial")
        placed = dispatch_model(model, places, force_hooks=True)
        assert isinstance(placed, PreTrainedModel)
        return placed


class Tensors:
    """Receives the tensors of one merge, as mergekit's writer would, and digests them.

    mergekit's `SaveTensor` and `FinalizeModel` call `save_tensor` and `finalize`.
    """

    def __init__(self) -> None:
        self._digests = Digests()
        self._lock = threading.Lock()  # mergekit's multi-GPU executor saves from several threads

    def save_tensor(self, name: str, tensor: torch.Tensor, clone: bool = False) -> None:
        """Takes one tensor of the merge.

        Raises:
            MergeError: it is not finite.
        """
        del clone  # a copy is made in any case
        if tensor.is_floating_point() and not _finite(tensor):
            raise MergeError(f"the merged {name} has values that are not finite")
        with self._lock:
            self.take(name, tensor)
            self._digest(name, tensor)

    def _digest(self, name: str, tensor: torch.Tensor) -> None:
        """Sees to the digest of a tensor that was taken."""
        self._digests.add(name, tensor)

    def take(self, name: str, tensor: torch.Tensor) -> None:
        """What is done with the tensor; the merge goes on when it returns."""
        raise NotImplementedError

    def finalize(self) -> None:
        """Called when all tensors have been taken."""

    @property
    def digest(self) -> str:
        """One digest over all tensors, whatever order they came in."""
        return combined_digest(self._digests.all())


class IntoModel(Tensors):
    """Writes tensors into a resident module.

    Args:
        model: the module.
        memory: knows what stands in it already, and is told what is written; None for nobody.
    """

    def __init__(self, model: PreTrainedModel, memory: Memory | None = None) -> None:
        super().__init__()
        self.model = model
        self.memory = memory
        self._targets, self._tied = places(model)
        self._missing = set(self._targets)
        self._written: list[str] = []
        self.strange: list[str] = []

    def save_tensor(self, name: str, tensor: torch.Tensor | Unchanged, clone: bool = False) -> None:
        """Takes one tensor of the merge, or the word that it is there already."""
        if isinstance(tensor, Unchanged):
            self.leave(name)
            return
        super().save_tensor(name, tensor, clone)

    def leave(self, name: str) -> None:
        """Leaves a tensor as it stands in the model."""
        assert self.memory is not None
        self._digests.know(name, self.memory.digest(name))
        self._missing.discard(name)

    def _digest(self, name: str, tensor: torch.Tensor) -> None:
        """Where the very bytes stand in main memory until the next merge, there is no hurry."""
        target = self._targets.get(name)
        if target is None or target.dtype != tensor.dtype or target.device.type != "cpu":
            super()._digest(name, tensor)
        else:
            self._digests.later(name, target)
        self._written.append(name)

    def take(self, name: str, tensor: torch.Tensor) -> None:
        """Copies the tensor to where it belongs; one without a place is noted in `strange`."""
        if name in self._tied:
            return
        target = self._targets.get(name)
        if target is None:
            self.strange.append(name)
            return
        if target.shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, where the model wants {tuple(target.shape)}"
            raise MergeError(f"the merged {name} has the shape {shapes}")
        if self.memory is not None:
            self.memory.overwrites(name)
        with torch.no_grad():
            target.copy_(tensor)
        self._missing.discard(name)

    def finalize(self) -> None:
        """Sees that nothing of the previous merge is left, and has what stands there remembered.

        Raises:
            MergeError: the merge lacks a parameter of the model.
        """
        if self._missing and not self.strange:
            names = ", ".join(sorted(self._missing)[:3])
            raise MergeError(f"the merge has no {names}")
        if self.memory is not None:
            digests = self._digests.all()
            for name in self._written:
                self.memory.wrote(name, digests[name])


class Collected(Tensors):
    """Keeps every tensor, for models whose checkpoints name tensors unlike their modules."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: dict[str, torch.Tensor] = {}

    def take(self, name: str, tensor: torch.Tensor) -> None:
        """Keeps a copy."""
        self.tensors[name] = tensor.to("cpu", copy=True)

    def build(self, config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        """A new module from the tensors, by the conversion that transformers does on loading."""
        architecture = type(AutoModelForCausalLM.from_config(config))
        model = architecture.from_pretrained(
            None, config=config, state_dict=self.tensors, dtype=dtype
        )
        assert isinstance(model, PreTrainedModel)
        return model


class DistanceTo(Tensors):
    """Sums the absolute differences between a stream of tensors and a model's parameters."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self._targets, self._tied = places(model)
        self._missing = {name for name, _ in model.named_parameters()}
        self.strange: list[str] = []
        self.total = 0.0

    def save_tensor(self, name: str, tensor: torch.Tensor, clone: bool = False) -> None:
        """Takes a tensor without a digest, which nobody asks for here."""
        del clone
        with self._lock:
            self.take(name, tensor)

    def take(self, name: str, tensor: torch.Tensor) -> None:
        """Adds one parameter's L1 distance, in double precision."""
        if name not in self._targets:
            self.strange += [] if name in self._tied else [name]
        elif name in self._missing:  # buffers are no parameters
            other = self._targets[name]
            if other.shape != tensor.shape:
                raise MergeError(f"{name} has another shape in the base: there is no distance")
            difference = other.to("cpu", torch.float64) - tensor.to("cpu", torch.float64)
            self.total += float(difference.abs().sum())
            self._missing.discard(name)

    def finalize(self) -> None:
        """Sees that every parameter was compared.

        Raises:
            MergeError: the reference lacks a parameter of the model.
        """
        if self._missing and not self.strange:
            names = ", ".join(sorted(self._missing)[:3])
            raise MergeError(f"the base has no {names}: there is no distance")


def places(model: PreTrainedModel) -> tuple[dict[str, torch.Tensor], set[str]]:
    """Where a model's tensors stand, by name, and the further names of tied ones."""
    state = model.state_dict(keep_vars=True)
    own = dict(model.named_parameters())  # of tied weights, the first name alone
    shared = {id(p) for p in own.values()}
    targets = {k: v for k, v in state.items() if k in own or id(v) not in shared}
    return targets, state.keys() - targets.keys()


def _size(model: PreTrainedModel) -> int:
    """Bytes of a module's parameters."""
    return sum(weights.nbytes for weights in model.parameters())


def _finite(tensor: torch.Tensor) -> bool:
    """Whether all values are finite.

    A sum in the tensor's own format tells, unless it overflows, at the speed of memory: a value
    that is not finite makes it so. To look at each value takes twenty times as long.
    """
    if math.isfinite(tensor.sum().item()):
        return True
    return bool(torch.isfinite(tensor).all())


def generation_config(config: PretrainedConfig, donor: Path | None) -> Any:
    """The generation settings that a merge written to disk would be loaded with.

    Args:
        config: of the model.
        donor: the folder whose `generation_config.json` mergekit would copy; None if it would not.
    """
    if donor is not None and (donor / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(donor)
    return GenerationConfig.from_model_config(config.to_diff_dict())  # what `config.json` will hold
