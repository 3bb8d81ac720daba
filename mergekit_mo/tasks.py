"""lm-eval tasks: found by name or file, loaded once, and guarded against well-known test sets.

Rule: lm-eval's own index reads some 14,000 files and takes 15 seconds; a task is found here by
looking for its name in the files' text, and loaded from its file alone.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import lm_eval.tasks
import yaml
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.tasks import TaskManager

from mergekit_mo.documents import Documents
from mergekit_mo.optional import missing
from mergekit_mo.task_code import CODE_FLAG, code_of, shut_templates_in

_BENCHMARKS = (
    "agieval",
    "ai2_arc",
    "arc",
    "bbh",
    "bigbench",
    "boolq",
    "commonsense_qa",
    "drop",
    "gpqa",
    "gsm8k",
    "hellaswag",
    "hendrycks",
    "humaneval",
    "ifeval",
    "lambada",
    "leaderboard",
    "mbpp",
    "minerva_math",
    "mmlu",
    "mmlusr",
    "musr",
    "openai_humaneval",
    "openbookqa",
    "piqa",
    "truthful_qa",
    "truthfulqa",
    "winogrande",
)
_KNOWN = re.compile(rf"({'|'.join(_BENCHMARKS)})(?![a-z])")
_SAFE_NAME = re.compile(r"_(train|training|val|valid|validation|dev)(_|$)")
_SAFE_SPLIT = re.compile(r"train|auxiliary")


class _Loader(yaml.SafeLoader):
    """Reads a task's file without the functions that it names."""


_Loader.add_multi_constructor("!", lambda *_: None)


class TaskError(ValueError):
    """A task that cannot be had; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def find_task(name: str, folder: Path, include: Sequence[Path]) -> Path:
    """The file of a task.

    Args:
        name: a path (ending in .yaml or .yml), or the name of a task.
        folder: where relative paths start.
        include: folders that are searched before lm-eval's own tasks.

    Raises:
        TaskError: there is none, or several.
    """
    if name.endswith((".yaml", ".yml")):
        path = (folder / Path(name).expanduser()).resolve()
        if not path.is_file():
            raise TaskError(f"no file {path}", "task files are looked for beside the recipe")
        return path
    own = Path(lm_eval.tasks.__file__).parent
    for root in (*include, *_likely(own, name), own):
        found = sorted(_naming(root, name))
        if len(found) == 1:
            return found[0]
        if found:
            raise TaskError(f"several files name a task {name!r}: {found[0]}, {found[1]}")
    hint = "a task of lm-eval, or the path of a task's YAML file; see `lm_eval ls tasks`"
    raise TaskError(f"no task is called {name!r}", hint)


def load_task(path: Path, *, run_code: bool = False) -> Task:
    """Loads a task and its documents; relative data files are found beside the task's file.

    Args:
        path: its file.
        run_code: lets the Python functions run that the file names.

    Raises:
        TaskError: it is a group, its documents cannot be had, or it wants to run code.
        UserError: its code needs a package that is not installed.
    """
    _refuse_group(path)
    if not run_code and (named := code_of(path)):
        what = f"{path.name} runs Python code of its own ({named})"
        raise TaskError(what, f"look at that code, then say {CODE_FLAG}")
    shut_templates_in()
    try:
        with _quiet(), contextlib.chdir(path.parent):
            loaded = TaskManager(include_defaults=False).load([str(path)])
    except ModuleNotFoundError as error:
        raise missing(error.name, f"the task {path.name}") from error
    except Exception as error:  # whatever a task's own code or data raise
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        hint = ""
        if isinstance(error, ConnectionError):
            hint = "its documents come from the Hugging Face Hub: is it within reach?"
        elif isinstance(error, FileNotFoundError):
            hint = "relative data files are looked for beside the task's file"
        raise TaskError(f"{path.name} cannot be loaded ({what.strip()})", hint) from error
    (task,) = loaded["tasks"].values()
    return task


def make_task(documents: Documents) -> Task:
    """The task that is made of a file's items."""
    with _quiet():
        return ConfigurableTask(
            config={**documents.whole_config(), "custom_dataset": documents.dataset}
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps lm-eval's warnings off the screen."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _refuse_group(path: Path) -> None:
    """Refuses the file of several tasks, before any of them is loaded, and one without a name."""
    try:
        content = yaml.load(path.read_bytes(), _Loader)
    except (OSError, yaml.YAMLError):
        return  # lm-eval says what is wrong
    if not isinstance(content, dict):
        return
    listed = content.get("task_list", content.get("task"))
    if "group" in content or isinstance(listed, list):
        entries = listed if isinstance(listed, list) else [listed] if listed else []
        names = [str(e.get("group", e.get("task")) if isinstance(e, dict) else e) for e in entries]
        some = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        what = f"{content.get('group', path.stem)} is a group of {len(names)} tasks"
        raise TaskError(what, f"name one of them, or each in an objective of its own: {some}")
    if listed is None and "include" not in content:
        raise TaskError(f"{path.name} does not name its task", "write task: my_task in it")


def contaminates(task: Task) -> str:
    """Why searching on a task would spoil a benchmark; empty where it would not.

    A task passes when its name says that it is a training or validation variant, or when the
    documents that it asks come from a training split.
    """
    name = task.task_name.lower()
    dataset = str(task.config.dataset_path or "").lower().rpartition("/")[2]
    known = _KNOWN.match(name) or _KNOWN.match(dataset)
    if not known or _SAFE_NAME.search(name):
        return ""
    split = task.config.test_split or task.config.validation_split or ""
    if _SAFE_SPLIT.search(str(split)):
        return ""
    return f"{task.task_name} asks a well-known benchmark's {split or 'test'} split"


def _likely(root: Path, name: str) -> Iterator[Path]:
    """Folders of lm-eval whose name begins the task's name, the longest first."""
    folders = [p for p in root.iterdir() if p.is_dir() and name.startswith(p.name.split("-")[0])]
    yield from sorted(folders, key=lambda p: -len(p.name))


def _naming(root: Path, name: str) -> Iterator[Path]:
    """Files below a folder that define a task or group of a name."""
    quoted = rb"[\"']?%s[\"']?[ \t]*"
    line = quoted % rb"(task|group)" + rb":[ \t]*" + quoted % re.escape(name.encode())
    pattern = re.compile(rb"^" + line + rb"(#.*)?\r?$", re.M)
    for path in root.rglob("*.y*ml"):
        with contextlib.suppress(OSError):
            if pattern.search(path.read_bytes()):
                yield path.resolve()
