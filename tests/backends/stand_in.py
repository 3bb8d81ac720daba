"""An engine without a model: it answers with a digest of the weights that it was handed last."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import deserialize

from mergekit_mo.backends._serving import serve_driver


class Server:
    """Keeps what it was started with; some requests make it fail as engines do."""

    def start(self, options: Mapping[str, Any]) -> None:
        if options.get("seed") == 13:
            raise ValueError("no luck with this seed")
        self.options = dict(options)
        self.tokenizer = (Path(options["tokenizer"]) / "tokenizer.json").read_text("utf-8")
        self.replace(options["pretrained"])

    def replace(self, folder: str) -> None:
        self.weights = weights_digest(Path(folder))

    def answer(self, wanted: tuple[str, Sequence[tuple[Any, ...]]]) -> list[str]:
        kind, arguments = wanted
        return [self._answered(kind, given[0]) for given in arguments]

    def children(self, _: None) -> int:
        """Starts something that would live on."""
        return subprocess.Popen(["sleep", "600"]).pid

    def close(self) -> None:
        """Leaves its children to whoever ends the group."""

    def _answered(self, kind: str, prompt: str) -> str:
        if prompt == "raise":
            print("(Worker pid=7) ERROR 11-22 09:34:44 [core.py:1512] MemoryError: 3 GiB too few")
            print("(Worker pid=7) ERROR 11-22 09:34:44 [core.py:1512] RuntimeError: cancelled")
            sys.stdout.flush()
            raise RuntimeError("EngineCore encountered an issue")
        if prompt == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return f"{kind} {prompt} {self.weights}"


def weights_digest(folder: Path) -> str:
    """Of every tensor in a folder, by name."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in sorted(deserialize(path.read_bytes())):  # type: ignore[no-untyped-call]
            digest.update(name.encode() + bytes(tensor["data"]))
    return digest.hexdigest()


if __name__ == "__main__":
    serve_driver(Server())
