"""Strangers' recipes and archives by the thousand: read, or refused in words with a place.

`python -m tests.fuzzing recipes COUNT SEED [START]` and `… archives …` print how many were tried.
An input that ends in anything else ends them with its seed and number. START is the first number,
for a long run in parts.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import tempfile
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from mergekit_mo import storage
from mergekit_mo.archive import Archive
from mergekit_mo.problems import RecipeError, UserError
from mergekit_mo.recipe import read_recipe

SPICE = ("&a ", "*a", "<<: ", "!!int ", "? ", "---\n", "\t", "{", "]", ": ", "#", "é", "\0", "~",
         "1e999", "-.inf", "../", "value:", "low: 2", "[[[", "!!python/name:os.system", "'", '"',
         "search:", "\u202e", "0x", "- ", "null", "|", ">", "%", "@", "`")  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, "", "a/b", -1, 0, 1e308, 10**30, [], {}, [[]], {"a": 1}, [[0, 0]], "{", "null",
    "waiting", [None], {"value": 1}, "\x00", "é" * 50, [1, "a"], -0.5, 2,
)  # fmt: skip


def garbled(text: str, draw: random.Random) -> str:
    """A text with pieces taken out, put in, moved and repeated."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(text) + 1)
        end = min(len(text), at + draw.randrange(1, 30))
        what = draw.random()
        if what < 0.35:
            text = text[:at] + draw.choice(SPICE) + text[at:]
        elif what < 0.6:
            text = text[:at] + draw.choice(SPICE) + text[end:]
        elif what < 0.8:
            text = text[:at] + text[end:]
        else:
            to = draw.randrange(len(text) + 1)
            text = text[:to] + text[at:end] + text[to:]
    return text


def read_one(path: Path, text: str) -> bool:
    """Whether a recipe is read; every problem has its place and its words."""
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        recipe, source, problems = read_recipe(path)
    except UserError as error:
        if str(path) not in str(error):
            raise
        return False
    assert recipe is not None or problems
    if problems:
        told = str(RecipeError(source, problems))
        assert f"{path}:" in told, told
    return not problems


def recipes(count: int, seed: int, start: int = 0) -> tuple[int, int]:
    """Tries garbled recipes; how many were tried and how many were read."""
    texts = [p.read_text() for p in sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))]
    good = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(start, start + count):
            text = garbled(random.Random(number).choice(texts), random.Random(f"{seed}-{number}"))
            try:
                good += read_one(Path(folder) / "recipe.yaml", text)
            except Exception as error:
                raise AssertionError(f"recipe {seed}-{number}: {error!r}") from error
    return count, good


def mangled(whole: bytes, draw: random.Random) -> bytes:
    """A file with flipped bits, other bytes, a piece cut off, moved or zeroed."""
    content = bytearray(whole)
    what, at = draw.random(), draw.randrange(len(whole))
    if what < 0.5:
        for _ in range(draw.randint(1, 3)):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif what < 0.65:
        content[at : at + draw.randint(1, 64)] = draw.randbytes(draw.randint(1, 64))
    elif what < 0.8:
        del content[at:]
    elif what < 0.9:
        content[at : at + 512] = bytes(len(content[at : at + 512]))
    else:
        page, other = (draw.randrange(len(whole) // 4096) * 4096 for _ in range(2))
        content[page : page + 4096] = whole[other : other + 4096]
    return bytes(content)


def reformed(path: Path, draw: random.Random) -> None:
    """Writes odd values into a row, with the right marks: what only a stranger would make."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=OFF")
        table = draw.choice(["trial", "trial", "score", "fact", "fact", "opening", "answers"])
        row = draw.choice(list(storage.rows(db, table)))
        name = draw.choice([n for n in row if n != "mark" and n not in storage.KEYS[table]])
        value = draw.choice(ODD)
        if isinstance(value, list | dict) or draw.random() < 0.4:
            value = json.dumps(value)
        row.pop("mark")
        if table == "answers" and name == "body":
            content = str(value).encode()
            value = draw.choice([value, content, zlib.compress(content)])
            row["checksum"] = zlib.crc32(value if isinstance(value, bytes) else content)
        try:
            storage.put(db, table, row | {name: value})
        except (sqlite3.Error, OverflowError):
            return  # the tables refuse it themselves


def rows_of(path: Path) -> tuple[Any, ...]:
    """What a reader of an archive is given."""
    with Archive.open(path, read_only=True) as archive:
        answers = [archive.answers(t.number, "search", "task") for t in archive.candidates[:1]]
        return archive.trials, archive.goals, archive.openings(), answers, len(archive.front())


def archives(count: int, seed: int, start: int = 0) -> tuple[int, int]:
    """Tries mangled and reformed archives; how many were tried and how many were opened."""
    from tests.test_archive import fill

    good = 0
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        path = Path(folder) / "archive.db"
        fill(path)
        whole, before = path.read_bytes(), rows_of(path)
        for number in range(start, start + count):
            draw = random.Random(f"{seed}-{number}")
            strange = draw.random() < 0.3
            path.write_bytes(whole if strange else mangled(whole, draw))
            try:
                if strange:
                    reformed(path, draw)
                found = rows_of(path)
                good += 1
            except UserError as error:
                if str(path) not in str(error) and "trial" not in str(error):
                    raise AssertionError(
                        f"archive {seed}-{number}: {error} has no place"
                    ) from error
                continue
            except Exception as error:
                raise AssertionError(f"archive {seed}-{number}: {error!r}") from error
            assert strange or found == before, f"archive {seed}-{number} was used as it is"
    return count, good


if __name__ == "__main__":
    kind = {"recipes": recipes, "archives": archives}[sys.argv[1]]
    begun = time.process_time()
    tried, read = kind(*map(int, sys.argv[2:]))
    print(f"{tried} {sys.argv[1]}, {read} of them read; {time.process_time() - begun:.0f} s")
