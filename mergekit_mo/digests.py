"""What a merge's weights are, in one number: digests of tensors, and of all of them together.

Rule: the digest of a merge depends on names, formats and bytes, never on the order in which its
tensors come or on how they are divided into files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch


class Digests:
    """The digests of one merge's tensors, some of them found while the next tensor is merged."""

    def __init__(self) -> None:
        self._found: dict[str, bytes] = {}
        self._coming: dict[str, Future[bytes]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Digests a tensor at once."""
        self._found[name] = tensor_digest(name, tensor)

    def later(self, name: str, tensor: torch.Tensor) -> None:
        """Digests a tensor beside other work.

        Args:
            name: its name.
            tensor: stays as it is until `all` has been called.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "digests")
        # One thread takes them in turn, and hashing lets Python go on: nothing is copied for it.
        self._coming[name] = self._thread.submit(tensor_digest, name, tensor)

    def know(self, name: str, digest: bytes) -> None:
        """Takes a digest that was found before."""
        self._found[name] = digest

    def all(self) -> Mapping[str, bytes]:
        """All of them by name; waits for those that are being found."""
        for name, coming in self._coming.items():
            self._found[name] = coming.result()
        self._coming = {}
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        return self._found


def tensor_digest(name: str, tensor: torch.Tensor) -> bytes:
    """A digest of a tensor's name, dtype, shape and bytes."""
    plain = tensor.detach().to("cpu").contiguous()
    digest = hashlib.sha256(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def combined_digest(digests: Mapping[str, bytes]) -> str:
    """One digest of many, by name."""
    whole = hashlib.sha256()
    for name in sorted(digests):
        whole.update(digests[name])
    return whole.hexdigest()


def folder_digest(folder: Path) -> str:
    """The digest that a merge has which wrote this folder of safetensors files."""
    from safetensors import safe_open

    digests: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as shard:
            for name in shard.keys():  # noqa: SIM118 (not a mapping)
                digests[name] = tensor_digest(name, shard.get_tensor(name))
    return combined_digest(digests)
