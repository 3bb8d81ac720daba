"""New weights for a live vLLM engine, through the interface that vLLM gives to RL trainers.

Rule: this is the only file that touches an engine's weights, and it touches them by public names
alone: an engine is told to start an update, to take a folder of safetensors, and to finish it.

vLLM ships transports for tensors on a GPU (`ipc`, `nccl`) and lets others be registered; this one
goes through a folder, in practice on a RAM disk, and so works on every platform. vLLM loads the
tensors by their checkpoint names, packs fused projections itself, and splits them over its workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from vllm import LLM
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.layers.vocab_parallel_embedding import (
    ParallelLMHead,
    VocabParallelEmbedding,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from mergekit_mo.vllm_options import PLUGIN

ENGINE_OPTIONS = {"weight_transfer_config": {"backend": PLUGIN}}
"""What an engine must be made with to take new weights."""


def register() -> None:
    """Enters the transport in vLLM's register; vLLM's plugins call this in each of its processes.

    Plugins may be loaded more than once in a process.
    """
    try:
        WeightTransferEngineFactory.register_engine(PLUGIN, FromFolder)
    except ValueError:
        return  # it is there already


def replace_weights(llm: LLM, folder: Path) -> None:
    """Puts a model's weights in the place of those that an engine has.

    Args:
        llm: an engine that was made with `ENGINE_OPTIONS`.
        folder: of safetensors files of a model with the engine's configuration; it may be removed
            when this returns.

    Raises:
        RuntimeError: the engine still holds answers computed with the old weights.
        Exception: whatever vLLM raises; the engine is then in no defined state.
    """
    llm.start_weight_update()
    llm.update_weights({"update_info": {"folder": str(folder)}})
    llm.finish_weight_update()
    if not llm.reset_prefix_cache():
        raise RuntimeError("the engine's prefix cache could not be emptied after new weights")


@dataclass
class _Nothing(WeightTransferInitInfo):  # type: ignore[misc]
    """The transport needs no handshake."""


@dataclass
class _Folder(WeightTransferUpdateInfo):  # type: ignore[misc]
    """Where the new weights lie."""

    folder: str


class FromFolder(WeightTransferEngine):  # type: ignore[misc]
    """Loads the safetensors files of a folder into a worker's model."""

    init_info_cls = _Nothing
    update_info_cls = _Folder

    def init_transfer_engine(self, init_info: _Nothing) -> None:
        """See vLLM."""

    def start_weight_update(self) -> None:
        """Makes the model take tensors as its checkpoint has them."""
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Loads the files; vLLM's own also waits for a GPU, and fails where there is none."""
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: _Folder) -> None:
        """Loads the files."""
        self.model.load_weights(_tensors(Path(update_info.folder)))

    def finish_weight_update(self) -> None:
        """Has vLLM pack and quantise what was loaded for its kernels."""
        finalize_layerwise_reload(self.model, self.model_config)
        _process_tied_heads(self.model)

    def shutdown(self) -> None:
        """Holds nothing."""


def _process_tied_heads(model: torch.nn.Module) -> None:
    """Lets output heads that share the embedding's weights take them over.

    No tensor is loaded under their name, so vLLM's reload leaves them out, which is wrong where the
    kernels use a packed copy: on a CPU the head went on with the weights of the model before.
    """
    layers = [m for m in model.modules() if isinstance(m, VocabParallelEmbedding)]
    shared = {id(layer.weight) for layer in layers if not isinstance(layer, ParallelLMHead)}
    for layer in layers:
        if isinstance(layer, ParallelLMHead) and id(layer.weight) in shared:
            layer.quant_method.process_weights_after_loading(layer)


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of a folder's safetensors files."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as shard:
            for name in shard.keys():  # noqa: SIM118 (not a mapping)
                yield name, shard.get_tensor(name)
