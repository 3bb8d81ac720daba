"""Configurations become plans of merges, by mergekit's own planner.

Rule: nothing is read but configurations and the names of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any

import torch
from mergekit.architecture import ModelArchitecture, get_architecture_info
from mergekit.common import dtype_from_name, set_config_value
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache, SaveTensor
from mergekit.merge import (
    _model_out_config,
)
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner
from mergekit.tokenizer import BuildTokenizer
from transformers import PretrainedConfig

from mergekit_mo.layers import Kinds
from mergekit_mo.options import OURS_ALONE, MergeFlags
from mergekit_mo.stack import layer_kinds


@dataclass(frozen=True)
class Plan:
    """A merge that is ready to run.

    Attributes:
        saves: one task for each tensor that the merge writes.
        build_tokenizer: mergekit's task for a new tokenizer, if the configuration asks for one.
        config: of the model to be.
        architecture: mergekit's description of it.
        merge: mergekit's own form of the configuration, untouched by the planner.
        kinds: of the layers, as mergekit would write them, whether they are right or not.
    """

    saves: tuple[SaveTensor, ...]
    build_tokenizer: BuildTokenizer | None
    config: PretrainedConfig
    architecture: ModelArchitecture
    merge: MergeConfiguration
    kinds: Kinds


def merge_options(flags: MergeFlags, device: str) -> MergeOptions:
    """Our flags as mergekit's options."""
    names = [f.name for f in fields(flags) if f.name not in OURS_ALONE]
    values = {name: getattr(flags, name) for name in names}
    return MergeOptions(**{**values, "device": device, "quiet": True, "write_model_card": False})


def plan_merge(configuration: Mapping[str, Any], options: MergeOptions) -> Plan:
    """Plans a merge; reads configurations and tensor names, but no weights."""
    merge = MergeConfiguration.model_validate(deepcopy(dict(configuration)))
    planned = merge.model_copy(deep=True)  # the planner rewrites what it is given
    architecture = get_architecture_info(planned, options)
    config, kinds = _out_config(merge, architecture, options)
    tasks = MergePlanner(planned, architecture, options, config).plan_to_disk("")
    saves = tuple(task for task in tasks if isinstance(task, SaveTensor))
    builds = [task for task in tasks if isinstance(task, BuildTokenizer)]
    return Plan(saves, builds[0] if builds else None, config, architecture, merge, kinds)


def _out_config(
    merge: MergeConfiguration, architecture: ModelArchitecture, options: MergeOptions
) -> tuple[PretrainedConfig, Kinds]:
    """The result's configuration as mergekit makes it, but with `layer_types` following the layers.

    mergekit changes the number of layers and leaves `layer_types` as it was, which transformers
    refuses to save or build.

    Returns:
        The configuration, and `layer_types` as mergekit has it.
    """
    config = _model_out_config(merge, architecture, options.trust_remote_code)
    before = layer_kinds(config)
    if merge.slices and getattr(config, "layer_types", None):
        kinds: list[str] = []
        for piece in merge.slices:
            first, end = piece.sources[0].layer_range
            source = piece.sources[0].model.config(options.trust_remote_code)
            kinds += source.layer_types[first:end]
        set_config_value(config, "layer_types", kinds)
    return config, before


def model_dtype(plan: Plan) -> torch.dtype:
    """The number format that the merge would be loaded in: its configuration's, or its tensors'."""
    named = plan.merge.out_dtype or plan.merge.dtype
    if named:
        dtype: torch.dtype = dtype_from_name(named)
        return dtype
    if isinstance(plan.config.dtype, torch.dtype):
        return plan.config.dtype
    reference = plan.merge.base_model or plan.merge.referenced_models()[0]
    loader = LoaderCache().get(reference)
    first: torch.Tensor = loader.get_tensor(next(iter(loader.index.tensor_paths)))
    return first.dtype
