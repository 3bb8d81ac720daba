"""Names of models and folders, as a recipe writes them: relative ones are found from the recipe.

Rule: mergekit and the Hub client take `a/b` for an id of the Hub, so a local folder is handed to
them by its absolute path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mergekit_mo.problems import shown

_MODEL_KEYS = ("base_model", "model", "tokenizer_source", "source")


def existing_folder(text: str, start: Path) -> Path | None:
    """The absolute path of a folder that a file in `start` names, if it is there."""
    try:
        path = (start / Path(text).expanduser()).resolve()
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a null byte
        return None


def reference_text(node: Any) -> str | None:
    """A model reference in mergekit's text form, `path@revision+lora@revision`."""
    if isinstance(node, Mapping) and node.keys() <= {"model", "lora"}:
        model, lora = _path_text(node.get("model")), _path_text(node.get("lora"))
        if model is None or (lora is None and node.get("lora") is not None):
            return None
        return f"{model}+{lora}" if lora else model
    return node if isinstance(node, str) and node.strip() else None


def _path_text(node: Any) -> str | None:
    """One half of a reference, `path@revision`."""
    if isinstance(node, Mapping) and node.keys() <= {"path", "revision"}:
        path, revision = node.get("path"), node.get("revision")
        if not isinstance(path, str) or not isinstance(revision, str | None):
            return None
        node = f"{path}@{revision}" if revision else path
    return node if isinstance(node, str) and node.strip() else None


def absolute_reference(text: str, folder: Path) -> str:
    """A model reference whose local folders are absolute; ids of the Hub stay as they are.

    Raises:
        ValueError: it names a folder that does not exist, or is no reference.
    """
    parts = text.split("+")
    if len(parts) > 2 or any(part.count("@") > 1 or not part.partition("@")[0] for part in parts):
        raise ValueError(f"{shown(text)} is no model", "write path@revision+adapter@revision")
    absolute = []
    for part in parts:
        path, at, revision = part.partition("@")
        local = existing_folder(path, folder)
        if local is not None:
            if "+" in str(local) or "@" in str(local):
                what = f"mergekit cannot take a folder with + or @ in its path: {local}"
                raise ValueError(what, "give it another name, or a link without these")
            absolute.append(str(local) + at + revision)
        elif path.startswith((".", "/", "~")) or path.count("/") > 1:
            raise ValueError(
                f"there is no folder {shown(path)}", "relative paths start from the recipe's folder"
            )
        else:
            absolute.append(part)
    return "+".join(absolute)


def references_of(config: Mapping[str, Any]) -> Iterator[str]:
    """The models that a configuration names, the base first."""
    if isinstance(config.get("base_model"), str):
        yield config["base_model"]
    yield from _walk(config)


def _walk(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            named = key in _MODEL_KEYS and isinstance(value, str)
            if named and value not in ("union", "base"):
                yield value
            else:
                yield from _walk(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _walk(value)
