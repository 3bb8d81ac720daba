"""Configurations become models in memory, by mergekit's own executor and loaders.

Plans come from `planning`, and no other file touches any of these.

Rule: the graph that is run is the very one that `run_merge` runs, in the same order, with only the
writer at its end exchanged. Random masks come from torch's global generator in the order of
execution, so nothing less gives the bits that `mergekit-yaml` will write.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from mergekit.common import ModelReference
from mergekit.graph import Executor, Task
from mergekit.io.tasks import FinalizeModel, LoaderCache, SaveTensor, TensorWriterTask
from mergekit.merge import (
    _get_donor_model,
    _set_chat_template,
    _update_config_vocab,
)
from mergekit.multigpu_executor import MultiGPUExecutor
from mergekit.tokenizer import TokenizerInfo
from transformers import PreTrainedModel

from mergekit_mo.layers import Walk
from mergekit_mo.machine import uncollected
from mergekit_mo.options import MergeFlags
from mergekit_mo.orders import Orders
from mergekit_mo.planning import Plan, merge_options, model_dtype, plan_merge
from mergekit_mo.reading import names_kept
from mergekit_mo.resident import (
    Collected,
    DistanceTo,
    IntoModel,
    MergeError,
    Resident,
    Tensors,
    generation_config,
)
from mergekit_mo.reuse import Memory
from mergekit_mo.slicing import adds_zero
from mergekit_mo.stack import Kept, Stock


@dataclass(frozen=True)
class Merged:
    """A merge that stands in memory until the next one takes its place.

    Attributes:
        model: the module, on its device.
        tokenizer: the one that mergekit would write beside it.
        digest: of the tensors, as they would stand on disk.
    """

    model: PreTrainedModel
    tokenizer: Any
    digest: str


class _Writer(TensorWriterTask, arbitrary_types_allowed=True):  # type: ignore[misc,call-arg]
    """Stands in for the writer at the end of mergekit's graph."""

    tensors: Any

    def execute(self, **_kwargs: Any) -> Tensors:
        """Gives the graph the receiver of its tensors."""
        assert isinstance(self.tensors, Tensors)
        return self.tensors


class Merger:
    """Merges configurations, one after the other, into one resident model.

    Args:
        flags: mergekit's options.
        device: where merges are computed.
        resident: where the model stands; None for the same device.
        spread: whether the model's layers are divided among all devices of that kind.
        orders: bytes that sorted orders of deltas may take from merge to merge.
    """

    def __init__(
        self,
        flags: MergeFlags,
        device: str,
        resident: str | None = None,
        *,
        spread: bool = False,
        orders: int = 0,
    ) -> None:
        self.flags = flags
        self.device = device
        self.options = merge_options(flags, device)
        self.resident = Resident(resident or device, spread)
        self.memory = Memory(device)
        self.orders = Orders(0 if self.options.multi_gpu else orders)
        self._tokenizers: dict[str, Any] = {}
        self._stock: Stock | None = None
        LoaderCache().loaders.clear()  # it outlives runs, and is keyed by the path alone
        LoaderCache().setup(self.options)

    def anew(self) -> Merger:
        """Another one of its kind, which holds no model and has read nothing of the sources."""
        return type(self)(self.flags, self.device, str(self.resident.device))

    @uncollected()
    def merge(self, configuration: Mapping[str, Any], walk: Walk | None = None) -> Merged:
        """Merges a configuration into the resident model.

        The global random generators are seeded for the merge, and left as they were.

        Args:
            configuration: mergekit's.
            walk: the layers that the model is made of, the merge's and sources' own; None for the
                merge as it is. With it the merge is kept, and the next walk over it merges nothing.

        Raises:
            MergeError: the result is not finite or not whole.
            Exception: whatever mergekit raises for a merge that it cannot do.
        """
        if walk is not None:
            return self._stacked(configuration, walk)
        plan = plan_merge(configuration, self.options)
        tokenizer = self._tokenizer(plan)
        dtype = model_dtype(plan)
        model = self.resident.prepare(plan.config, dtype)
        tensors = IntoModel(model, None if self.options.multi_gpu else self.memory)
        self._run(plan, tensors)
        if tensors.strange:
            self.memory.forget()
            collected = Collected()
            self._run(plan, collected)
            model = self.resident.replace(collected.build(plan.config, dtype))
        model.generation_config = generation_config(plan.config, self._companions(plan))
        return Merged(model, tokenizer, tensors.digest)

    def _stacked(self, configuration: Mapping[str, Any], walk: Walk) -> Merged:
        """Stacks layers of a merge and of its sources."""
        stock = self._in_stock(configuration)
        config = stock.stacked(walk)
        zero = adds_zero(configuration, walk)
        model = self.resident.prepare(config, stock.dtype)
        self.memory.forget()
        tensors = IntoModel(model)
        stock.pour(walk, tensors, add_zero=zero)
        if tensors.strange:
            collected = Collected()
            stock.pour(walk, collected, add_zero=zero)
            model = self.resident.replace(collected.build(config, stock.dtype))
        model.generation_config = generation_config(config, stock.companions)
        return Merged(model, stock.tokenizer, tensors.digest)

    def _in_stock(self, configuration: Mapping[str, Any]) -> Stock:
        """The merge of a configuration, kept from last time or made anew."""
        key = json.dumps(configuration, sort_keys=True)
        if self._stock is None or self._stock.key != key:
            self._stock = None  # frees its tensors before others take their place
            plan = plan_merge(configuration, self.options)
            tokenizer, kept = self._tokenizer(plan), Kept()
            self._run(plan, kept)
            self._stock = Stock(
                key,
                plan.merge,
                plan.config,
                plan.architecture,
                kept.tensors,
                model_dtype(plan),
                tokenizer,
                self._companions(plan),
                self.options.trust_remote_code,
            )
        return self._stock

    def distance(self, model: PreTrainedModel, reference: str) -> float:
        """The L1 distance of a model's parameters from those of a source.

        Raises:
            MergeError: they do not have the same parameters.
        """
        plan = plan_merge(as_it_is(reference), self.options)
        tensors = DistanceTo(model)
        self._run(plan, tensors)
        if tensors.strange:
            collected, tensors = Collected(), DistanceTo(model)
            self._run(plan, collected)
            for name, tensor in collected.build(plan.config, model_dtype(plan)).named_parameters():
                tensors.take(name, tensor)
            if tensors.strange:
                raise MergeError(f"the merge has no {tensors.strange[0]}: there is no distance")
            tensors.finalize()
        return tensors.total

    def _run(self, plan: Plan, tensors: Tensors) -> None:
        """Runs a plan's graph into a receiver of tensors."""
        writer = _Writer(out_path="", max_shard_size=self.options.out_shard_size, tensors=tensors)
        left: Sequence[SaveTensor] = plan.saves
        if isinstance(tensors, IntoModel) and tensors.memory is not None:
            left = tensors.memory.plan(tensors.model, left, plan.merge.merge_method)
            ours = {save.tensor_name for save in left}
            for save in plan.saves:
                if save.tensor_name not in ours:
                    tensors.leave(save.tensor_name)
        saves = [task.model_copy(update={"writer_task": writer}) for task in left]
        targets: list[Task[Any]] = [
            *saves,
            FinalizeModel(tensor_save_tasks=tuple(saves), writer_task=writer),
        ]
        if plan.build_tokenizer:
            targets.append(plan.build_tokenizer)
        with seeded(self.flags.random_seed), self.orders.at_hand(), names_kept():
            executor = self._executor(targets)
            if isinstance(executor, Executor):
                _let_go(executor)
            for _ in executor.run(quiet=True):
                pass
        if isinstance(executor, Executor):
            tensors.finalize()

    def _executor(self, targets: list[Task[Any]]) -> Executor | MultiGPUExecutor:
        if self.options.multi_gpu:
            storage = None if self.options.low_cpu_memory else "cpu"
            return MultiGPUExecutor(targets=targets, storage_device=storage)
        storage = self.device if self.options.low_cpu_memory else "cpu"
        executor = Executor(targets=targets, math_device=self.device, storage_device=storage)
        return executor

    def _tokenizer(self, plan: Plan) -> Any:
        """The tokenizer that mergekit would write, made once for each set of sources."""
        merge, trust = plan.merge, self.options.trust_remote_code
        models = merge.referenced_models()
        donor = merge.base_model or models[0]
        build = plan.build_tokenizer.model_dump_json() if plan.build_tokenizer else ""
        key = f"{donor} {sorted(map(str, models))} {build} {merge.chat_template}"
        if key not in self._tokenizers:
            if plan.build_tokenizer is not None:
                ((_, info),) = Executor([plan.build_tokenizer]).run(quiet=True)
                assert isinstance(info, TokenizerInfo)
                tokenizer = info.tokenizer
            else:
                tokenizer = transformers.AutoTokenizer.from_pretrained(
                    self._companions(plan) or donor.model.path,
                    revision=donor.model.revision,
                    trust_remote_code=trust,
                )
            _set_chat_template(tokenizer, merge, trust)
            self._tokenizers[key] = tokenizer
        tokenizer = self._tokenizers[key]
        if plan.build_tokenizer is not None:
            multiple = merge.tokenizer.pad_to_multiple_of if merge.tokenizer else None
            _update_config_vocab(plan.config, plan.architecture, tokenizer, multiple)
        return tokenizer

    def _companions(self, plan: Plan) -> Path | None:
        """The folder that mergekit copies the tokenizer's files and the generation settings from.

        None where it writes the tokenizer itself, and copies nothing.
        """
        if plan.build_tokenizer or plan.merge.chat_template:
            return None
        folder = Path(_get_donor_model(plan.merge, self.options)[1])
        whole = (folder / "tokenizer_config.json").exists() and any(
            (folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")
        )
        return folder if whole else None


def _let_go(executor: Executor) -> None:
    """Has an executor forget a tensor that is saved; the order of its tasks stays as it is.

    For each task it looks through all results that are still of use, and whether the task is a
    target. The last task of all holds every saved tensor's result, which is nothing, so that both
    looks grow with the model. That task is left to the caller: it finalizes the writer.
    """
    schedule = executor.schedule
    last = next(h for h in schedule.tasks if isinstance(h.task(), FinalizeModel))
    schedule.tasks.remove(last)
    for handle in last.arguments().values():
        if isinstance(handle.task(), SaveTensor):
            schedule.last_use_index[handle] = 0
    executor.targets = set()  # what the tasks return is of no use here


def as_it_is(reference: str) -> dict[str, Any]:
    """The configuration whose merge is a source itself, scored with its own tokenizer."""
    return {
        "merge_method": "passthrough",
        "base_model": reference,
        "models": [{"model": reference}],
    }


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the global generators as mergekit's `--random-seed` does, and puts them back after."""
    python, array = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        transformers.trainer_utils.set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)


def parse_reference(text: str) -> ModelReference:
    """A model reference in mergekit's own form."""
    return ModelReference.parse(text)
