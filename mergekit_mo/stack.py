"""Layers of a merge and of its sources, one on the other, as one model.

Rule: the tensors of the last merge are kept, so that another walk over its layers merges nothing;
sources' layers are read as they are, in the number format of the merge.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mergekit.architecture import ConfiguredModelArchitecture, ModelArchitecture, WeightInfo
from mergekit.common import ModelReference, dtype_from_name, set_config_value
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoadTensor
from transformers import PretrainedConfig

from mergekit_mo.layers import MERGE, Kinds, Walk
from mergekit_mo.resident import MergeError, Tensors


class Kept(Tensors):
    """Keeps every tensor of a merge on the CPU, without a digest."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: dict[str, torch.Tensor] = {}

    def save_tensor(self, name: str, tensor: torch.Tensor, clone: bool = False) -> None:
        """Keeps a copy."""
        del clone
        with self._lock:
            self.take(name, tensor)

    def take(self, name: str, tensor: torch.Tensor) -> None:
        """Keeps a copy."""
        self.tensors[name] = tensor.to("cpu", copy=True)


@dataclass(frozen=True)
class Stock:
    """A merge whose layers, and those of its sources, can be stacked in any order.

    Attributes:
        key: tells one merge from another.
        merge: mergekit's form of its configuration.
        config: of the merged model.
        architecture: mergekit's description of it.
        tensors: of the merged model, by name.
        dtype: of the model that they make.
        tokenizer: of that model.
        companions: where mergekit would copy its companion files from.
        trust_remote_code: whether the sources' own code may run.
        configs: of the sources, as far as they have been read.
        weights: of models' layers, likewise.
    """

    key: str
    merge: MergeConfiguration
    config: PretrainedConfig
    architecture: ModelArchitecture
    tensors: dict[str, torch.Tensor] = field(repr=False)
    dtype: torch.dtype
    tokenizer: Any
    companions: Path | None
    trust_remote_code: bool
    configs: dict[str, PretrainedConfig] = field(default_factory=dict, repr=False)
    weights: dict[tuple[str, int], list[WeightInfo]] = field(default_factory=dict, repr=False)

    def pour(self, walk: Walk, into: Tensors, *, add_zero: bool) -> None:
        """Gives a receiver every tensor of the model that a walk describes.

        Args:
            walk: the layers from first to last.
            into: takes the tensors.
            add_zero: turn -0 in sources' own layers into 0, as mergekit's `linear` does.

        Raises:
            MergeError: two layers do not have the same tensors.
        """
        depth = depth_of(self.config, self.architecture)
        inside = {weight.name for i in range(depth) for weight in self._weights(MERGE, i)}
        for name, tensor in self.tensors.items():
            if name not in inside:
                into.save_tensor(name, tensor)
        for place, (name, layer) in enumerate(walk):
            weights, targets = self._weights(name, layer), self._weights(MERGE, place)
            if len(weights) != len(targets):
                raise MergeError(f"layer {layer} of {name} has other tensors than layer {place}")
            for weight, target in zip(weights, targets, strict=True):
                found = self._tensor(name, weight)
                if found is None:
                    continue  # one that models may lack
                if add_zero and name != MERGE and found.is_floating_point():
                    found = found + 0.0
                into.save_tensor(target.name, found)
        into.finalize()

    def stacked(self, walk: Walk) -> PretrainedConfig:
        """The configuration of the model that a walk describes."""
        configs = {name: self._config(name) for name, _ in walk}
        return stacked_config(self.config, self.architecture, walk, configs)

    def _config(self, name: str) -> PretrainedConfig:
        if name == MERGE:
            return self.config
        if name not in self.configs:
            self.configs[name] = source_config(name, self.trust_remote_code)
        return self.configs[name]

    def _weights(self, name: str, index: int) -> list[WeightInfo]:
        """The tensors of a layer; of a layer beyond the merge's last, as they would be called."""
        if (name, index) not in self.weights:
            found = layer_weights(self._config(name), self.architecture, index)
            self.weights[name, index] = found
        return self.weights[name, index]

    def _tensor(self, name: str, weight: WeightInfo) -> torch.Tensor | None:
        """A layer's tensor of the merge, or of a source: as the merge's number formats leave it."""
        if name == MERGE:
            return self.tensors.get(weight.name)
        tensor: torch.Tensor | None = LoadTensor(
            model=ModelReference.parse(name),
            tensor=weight.name,
            dtype=weight.force_dtype or self.merge.dtype,
            optional=weight.optional,
            aliases=weight.aliases,
            tied_names=weight.tied_names,
        ).execute()
        last = weight.force_dtype or self.merge.out_dtype
        return tensor if tensor is None or not last else tensor.to(dtype_from_name(last))


def stacked_config(
    config: PretrainedConfig,
    architecture: ModelArchitecture,
    walk: Walk,
    sources: Mapping[str, PretrainedConfig],
) -> PretrainedConfig:
    """The configuration of a model whose layers are those of a walk.

    Args:
        config: of the merge.
        architecture: of the merge.
        walk: the layers from first to last.
        sources: the configurations of the walk's sources.
    """
    stacked = deepcopy(config)
    (module,) = architecture.modules.values()
    set_config_value(stacked, module.architecture.num_layers_config_key(), len(walk))
    if layer_kinds(config):
        kinds = {name: layer_kinds(found) for name, found in sources.items()}
        kinds[MERGE] = layer_kinds(config)
        set_config_value(stacked, "layer_types", [kinds[name][layer] for name, layer in walk])
    return stacked


def source_config(source: str, trust_remote_code: bool) -> PretrainedConfig:
    """The configuration of a source."""
    config = ModelReference.parse(source).config(trust_remote_code)
    assert isinstance(config, PretrainedConfig)
    return config


def layer_weights(
    config: PretrainedConfig, architecture: ModelArchitecture, index: int
) -> list[WeightInfo]:
    """What mergekit knows of the tensors of one layer."""
    (module,) = architecture.modules
    known = ConfiguredModelArchitecture(info=architecture, config=config)
    return list(known.get_module(module).layer_weights(index))


def layer_kinds(config: PretrainedConfig) -> Kinds:
    """The kind of each layer; empty where a model's configuration does not tell any."""
    return tuple(getattr(config, "layer_types", None) or ())


def depth_of(config: PretrainedConfig, architecture: ModelArchitecture) -> int:
    """The number of a model's layers."""
    (module,) = architecture.modules.values()
    return int(module.architecture.num_layers(config))
