"""Items that a user's own file holds: texts, or prompts with a better and a worse answer.

Rule: a file is read whole before anything is merged, what is wrong with it is told by file and
line, and it becomes a task like any other: split by seed, its content in the run's record.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mergekit_mo.problems import shown

PASSAGE = 2000
"""The most characters of a text file that are one item, unless a single line has more."""

_MOST_TOLD = 5
_SPLIT = "test"


class DocumentsError(ValueError):
    """A file that holds no usable items.

    Attributes:
        faults: what is wrong, one line each.
        hint: the way out.
    """

    def __init__(self, faults: list[str], hint: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults
        self.hint = hint


@dataclass(frozen=True)
class Documents:
    """The items of a file, as a task that is made of them.

    Attributes:
        name: of the task.
        path: of the file.
        rows: the items.
        config: lm-eval's, for all but where the items come from.
        asked: whether lm-eval asks models the items; if not, an objective does it by itself.
    """

    name: str
    path: Path
    rows: tuple[Mapping[str, Any], ...] = field(repr=False)
    config: Mapping[str, Any]
    asked: bool = True

    def whole_config(self) -> dict[str, Any]:
        """lm-eval's configuration, but for the data set."""
        return {"task": self.name, "test_split": _SPLIT, "num_fewshot": 0, **self.config}

    def dataset(self, **_: Any) -> dict[str, Any]:
        """The items as lm-eval's `custom_dataset`."""
        from datasets import Dataset

        return {_SPLIT: Dataset.from_list([dict(row) for row in self.rows])}

    def files(self) -> dict[str, str]:
        """The task as files for lm-eval alone, by name: `NAME.yaml`, its items and its code."""
        data = f"{self.name}.jsonl"
        config = self.whole_config() | {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {_SPLIT: data}},
        }
        function = config.pop("process_results", None)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        lines = (json.dumps(row, ensure_ascii=False) for row in self.rows)
        files = {data: "".join(f"{line}\n" for line in lines)}
        if function is not None:
            module = inspect.getmodule(function)
            assert module is not None
            name = module.__name__.rpartition(".")[2]
            text += f"process_results: !function {name}.{function.__name__}\n"
            files[f"{name}.py"] = inspect.getsource(module)
        return files | {f"{self.name}.yaml": text}


def rolling(name: str, path: Path, *, asked: bool = True) -> Documents:
    """The task of a text file: how well it is predicted, in windows of a model's whole context.

    Args:
        name: of the task.
        path: of the file.
        asked: as in `Documents`.

    Raises:
        DocumentsError: the file has no texts.
    """
    metrics = ("bits_per_byte", "byte_perplexity", "word_perplexity")
    config = {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "text",
        "metric_list": [
            {"metric": m, "aggregation": _aggregation(m), "higher_is_better": False}
            for m in metrics
        ],
    }
    return Documents(name, path, tuple({"text": t} for t in read_texts(path)), config, asked)


def _aggregation(metric: str) -> str:
    return metric if metric == "bits_per_byte" else "weighted_perplexity"


def found_file(text: str, folder: Path) -> Path:
    """The file that a recipe in a folder names.

    Raises:
        DocumentsError: it is not there.
    """
    try:
        path = (folder / Path(text).expanduser()).resolve()
        there = path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a null byte
        there = False
    if not there:
        hint = "relative paths start from the recipe's folder"
        raise DocumentsError([f"there is no file {shown(text)}"], hint)
    return path


def read_texts(path: Path) -> list[str]:
    """The texts of a file.

    A `.jsonl` file has one in the field `text` of each line. Any other file is cut between lines
    into passages of at most `PASSAGE` characters.

    Raises:
        DocumentsError: it has none, or cannot be read.
    """
    if path.suffix == ".jsonl":
        return [row["text"] for row in read_lines(path, _text)]
    texts = list(_passages(_read(path)))
    if not texts:
        raise DocumentsError([f"{path.name} has no text"], "name a file with text in it")
    return texts


def read_lines(path: Path, read: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    """The items of a JSON Lines file; blank lines are none.

    Args:
        path: the file.
        read: makes an item of a line's value; a `ValueError` says what is wrong with it.

    Raises:
        DocumentsError: a line is broken, or there is none; every broken line is named, up to five.
    """
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ValueError(f"expected {{…}}, got {shown(value)}")
            rows.append(read(value))
        except json.JSONDecodeError as error:
            faults.append(f"{path.name}:{number}: no JSON: {error.msg} at column {error.colno}")
        except (ValueError, RecursionError) as error:
            faults.append(f"{path.name}:{number}: {error}")
    if not rows and not faults:
        faults.append(f"{path.name} has no lines")
    if faults:
        more = len(faults) - _MOST_TOLD
        told = [*faults[:_MOST_TOLD], *([f"{path.name}: {more} more lines"] if more > 0 else [])]
        raise DocumentsError(told, "each line is one item, a JSON object")
    return rows


def text_of(row: Mapping[str, Any], key: str, *, empty: bool = False) -> str:
    """The text in a field of an item; a chat of one message counts as its text.

    Raises:
        ValueError: there is none.
    """
    if key not in row:
        raise ValueError(f"has no {key!r}")
    value = row[key]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0].get("content")
    elif isinstance(value, list):
        raise ValueError(f"{key!r} is a chat of {len(value)} messages, where one is understood")
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is no text but {shown(value)}")
    if not (value.strip() or empty):
        raise ValueError(f"{key!r} is empty")
    return value


def _text(row: Any) -> dict[str, Any]:
    return {"text": text_of(row, "text")}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DocumentsError([f"{path.name}: {error.strerror or error}"], "") from error
    except UnicodeDecodeError as error:
        raise DocumentsError([f"{path.name}: not UTF-8 text"], "save it as UTF-8") from error


def _passages(text: str) -> Iterator[str]:
    """Runs of whole lines of at most `PASSAGE` characters, those of white space left out."""
    passage = ""
    for line in text.splitlines(keepends=True):
        if passage and len(passage) + len(line) > PASSAGE:
            yield from [passage] if passage.strip() else []
            passage = ""
        passage += line
    yield from [passage] if passage.strip() else []
