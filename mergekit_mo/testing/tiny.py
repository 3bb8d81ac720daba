"""Train, once, the family of tiny models behind the demo and the tests: a base and its experts.

A family on disk is whole or absent: it is built aside, under a lock, and renamed into place.
"""

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from transformers import LlamaForCausalLM

from mergekit_mo.testing.corpus import DOMAINS, corpus
from mergekit_mo.testing.tasks import write_tasks
from mergekit_mo.testing.training import Course, fresh_model, stream, tokenizer_of, trained

CONTEXT = 256
VOCAB = 1024

_BASE = Course(650, 4e-3, {"code": 0.36, "prose": 0.34, "arithmetic": 0.3})
_EXPERTS = {
    "code": Course(180, 2e-3, {"code": 1.0}),
    "prose": Course(180, 2e-3, {"prose": 1.0}),
    "arithmetic": Course(200, 2e-3, {"arithmetic": 1.0}),
}
_SHARE_REPORTED = 20  # a progress line for each twentieth of the steps
_MARK = "family.json"


@dataclass(frozen=True)
class Family:
    """Where a trained family lies.

    Attributes:
        root: The folder of everything else.
        base: The model that the experts were finetuned from.
        code: The expert in Python's source.
        prose: The expert in Python's documentation.
        arithmetic: The expert in sums of three digits.
        tasks: The lm-eval tasks, over text that no model was trained on.
    """

    root: Path
    base: Path
    code: Path
    prose: Path
    arithmetic: Path
    tasks: Path


def family(root: Path, *, seed: int = 0, progress: Callable[[str], None] | None = None) -> Family:
    """Return the family in `root`, trained first if it is absent or was made otherwise.

    Args:
        root: Its folder; what it holds is replaced only if it is a family.
        seed: Settles the text, the split and the weights.
        progress: Is told, in a line at a time, how training goes.

    Raises:
        FileExistsError: If `root` holds something else.
    """
    digest = _digest(seed)
    if _mark(root) != digest:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f".{root.name}.lock")):
            if _mark(root) != digest:  # no other process built it while this one waited
                _build(root, digest, seed, progress)
    return Family(root, *(root / name for name in ("base", *DOMAINS, "tasks")))


def _digest(seed: int) -> str:
    """Return a fingerprint of all that settles a family: this code, the seed and the text."""
    here = Path(__file__).parent
    parts = [here / f"{name}.py" for name in ("corpus", "tasks", "tiny", "training")]
    told = [part.read_text(encoding="utf-8") for part in parts]
    return hashlib.sha256(json.dumps([platform.python_version(), seed, *told]).encode()).hexdigest()


def _mark(root: Path) -> str | None:
    """Return the digest of the family in `root`, or None if there is none."""
    try:
        return str(json.loads((root / _MARK).read_text(encoding="utf-8"))["digest"])
    except FileNotFoundError:
        return None


def _build(root: Path, digest: str, seed: int, progress: Callable[[str], None] | None) -> None:
    """Train a family aside and put it in `root`, in place of an older one."""
    if root.exists() and any(root.iterdir()) and _mark(root) is None:
        raise FileExistsError(f"{root} is not empty and holds no family of tiny models")
    aside, old = (root.with_name(f".{root.name}.{use}") for use in ("building", "old"))
    for leftover in (aside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    _train(aside, seed, progress)
    (aside / _MARK).write_text(json.dumps({"digest": digest, "seed": seed}), encoding="utf-8")
    if root.exists():
        root.rename(old)
    aside.rename(root)
    shutil.rmtree(old, ignore_errors=True)


def _train(folder: Path, seed: int, progress: Callable[[str], None] | None) -> None:
    """Write the base, the experts and the tasks into `folder`."""
    clock = _Clock(progress)
    text = corpus(seed)
    write_tasks(folder / "tasks", text, seed=seed)
    learnt = [document for name in ("code", "prose") for document in text[name].train]
    tokenizer = tokenizer_of(learnt, vocab=VOCAB, context=CONTEXT)
    streams = {name: stream(split.train, tokenizer) for name, split in text.items()}

    def taught(model: LlamaForCausalLM, name: str, course: Course, number: int) -> LlamaForCausalLM:
        model = trained(model, streams, course, seed=seed + number, report=lambda: clock.tick(name))
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        return model

    base = taught(fresh_model(tokenizer, context=CONTEXT, seed=seed), "base", _BASE, 0)
    for number, name in enumerate(DOMAINS, start=1):
        taught(base, name, _EXPERTS[name], number)


class _Clock:
    """Turn steps of training into lines of progress."""

    def __init__(self, progress: Callable[[str], None] | None) -> None:
        """Start counting."""
        self.progress = progress
        self.started = time.monotonic()
        self.total = _BASE.steps + sum(course.steps for course in _EXPERTS.values())
        self.done = 0

    def tick(self, name: str) -> None:
        """Count one step of the named model."""
        self.done += 1
        if self.progress and self.done % (self.total // _SHARE_REPORTED) == 0:
            seconds = time.monotonic() - self.started
            self.progress(f"{self.done / self.total:4.0%} {name:10} {seconds:4.0f} s")
