"""What Python code a task's file would run, told before anything of it is loaded.

Rule: a task of a stranger is data. Functions that its file names run only where the user said so;
those of lm-eval's own package always do; templates run in jinja's sandbox.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

import lm_eval.tasks
import lm_eval.utils
import yaml
from jinja2.sandbox import SandboxedEnvironment

CODE_FLAG = "--run-task-code"


class _Finder(yaml.SafeLoader):
    """Reads a task's file and notes the functions that it names."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.named: list[str] = []


def _noted(loader: _Finder, tag: str, node: yaml.Node) -> None:
    loader.named.append(f"!{tag} {node.value if isinstance(node, yaml.ScalarNode) else ''}".strip())


_Finder.add_multi_constructor("!", _noted)
_Finder.add_multi_constructor("tag:yaml.org,2002:python/", _noted)


def code_of(path: Path) -> str:
    """What code loading a task's file would run, beyond lm-eval's own; empty where there is none.

    The files that it includes are read as well.
    """
    own = Path(lm_eval.tasks.__file__).parent.resolve()
    waiting, seen = [path.resolve()], set[Path]()
    while waiting:
        found = waiting.pop()
        if found in seen or found.is_relative_to(own) or not found.is_file():
            continue
        seen.add(found)
        loader = _Finder(found.read_bytes())
        try:
            content = loader.get_single_data()
        except (yaml.YAMLError, ValueError):
            content = None  # lm-eval says what is wrong
        finally:
            loader.dispose()
        if loader.named:
            return f"{found.name}: {loader.named[0]}"
        if isinstance(content, dict):
            if named := _fetched(content):
                return f"{found.name}: {named}"
            included = content.get("include") or []
            names = included if isinstance(included, list) else [included]
            waiting += [(found.parent / str(name)).resolve() for name in names]
    return ""


def _fetched(content: dict[Any, Any]) -> str:
    """What else fetches code: metrics that lm-eval has not, a class, a data set's script."""
    metrics = content.get("metric_list")
    for entry in metrics if isinstance(metrics, list) else ():
        if isinstance(entry, dict):
            name = entry.get("metric")
            if entry.get("hf_evaluate") or not _known_metric(name, content):
                return f"metric {name}, which is none of lm-eval's"
    if "class" in content:
        return "class"
    data = str(content.get("dataset_path") or "")
    return f"dataset_path {data}" if data.endswith(".py") else ""


def _known_metric(name: object, content: dict[Any, Any]) -> bool:
    """Whether lm-eval itself computes a metric, which it else looks for on the Hub."""
    if "process_results" in content:
        return True  # a function, which is noted, names its own metrics
    from lm_eval.api.registry import metric_registry

    known: Container[object] = metric_registry
    return name in known


def shut_templates_in() -> None:
    """Gives lm-eval's templates jinja's sandbox: a prompt's text must not reach Python."""
    env = lm_eval.utils.env
    if isinstance(env, SandboxedEnvironment):
        return
    sandbox = SandboxedEnvironment(
        loader=env.loader, undefined=env.undefined, keep_trailing_newline=env.keep_trailing_newline
    )
    sandbox.filters.update(env.filters)
    lm_eval.utils.env = sandbox
