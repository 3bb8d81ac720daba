"""Searches over layer paths, where the truth is known: every path of a family is scored once.

Rule: a finished run is a line of `data/paths.jsonl`; `run` adds those that are missing and may be
stopped at any time. Wren and lark are for tuning; nothing is chosen on heron and owl.

    python benchmarks/paths.py score [--tables wren heron]     # scores what is missing (minutes)
    python benchmarks/paths.py run [--tables wren] [--optimizers hm3 evolution] [--seeds 0-19]
    python benchmarks/paths.py planted [--seeds 0-9]           # three truths that were planted
    python benchmarks/paths.py unseen [--seeds 0-9]            # advice for withheld preferences
    python benchmarks/paths.py levels [--seeds 0-4]            # live: merges, paths, both
    python benchmarks/paths.py advise                          # how long advice takes; prints it
    python benchmarks/paths.py table                           # from what is recorded; runs nothing
    python benchmarks/paths.py published [--seeds 0]           # 1,000 episodes a preference
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path as Folder
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Folder(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from filelock import FileLock  # noqa: E402

from benchmarks._levels import BUDGET as LEVELS_BUDGET  # noqa: E402
from benchmarks._levels import LEVELS  # noqa: E402
from benchmarks._paths import TABLES, memo_of, score_all, table  # noqa: E402
from benchmarks._planted import LENGTH_PENALTY, PLANTED  # noqa: E402
from benchmarks._runs import parse_optimizer  # noqa: E402
from benchmarks._walks import Truth, archive_of, rows_of, walk  # noqa: E402
from benchmarks.families import FAMILIES  # noqa: E402
from mergekit_mo.layers import Path  # noqa: E402
from mergekit_mo.optimizers import Optimizer  # noqa: E402

RESULTS = ROOT / "benchmarks" / "data" / "paths.jsonl"
LEVEL_MARKS = (10, 20, 30, 40, 80, 120)
BUDGET = 200
MARKS = (25, 50, 100, 200)
COMMANDS = ("score", "run", "planted", "unseen", "levels", "published", "advise", "table")
PUBLISHED = "{hm3: {variant: paper}}"
RIVALS = (
    "hm3",
    "{hm3: {neighbours: 0.5}}",
    "{hm3: {variant: paper}}",
    "evolution",
    "mutation",
    "random",
)
ADVISED = (25, 50)
"""Evaluations that an adviser knows of."""

_SHARES = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
"""Of the first goal in withheld preferences; the others share the rest alike."""

_TRAINED = (0.05, 0.22, 0.38, 0.53, 0.68, 0.82, 0.97)
"""First goals' shares that rivals train for: a network for each, none of them withheld."""

_MORE = 20  # evaluations that evolution gets besides
_WHOLE = 1 - 1e-9

Record = dict[str, Any]


def search(name: str, optimizer: str, seed: int, budget: int) -> Record:
    """One run on a table: shares of the exact front's hypervolume after each evaluation.

    A run is over when it has all of it: what would follow is known.
    """
    truth = table(name)
    label, made = parse_optimizer(optimizer)
    begun = time.process_time()
    shares: list[float] = []
    for paths in _step_by_step(truth, made, seed, budget):
        while len(shares) < len(paths):
            rows = rows_of(truth, paths[: len(shares) + 1])
            shares.append(round(truth.volume(rows) / truth.most, 6))
        if shares[-1] > _WHOLE:
            break
    seconds = round((time.process_time() - begun) / len(shares), 4)
    # Whoever has all of it keeps it; whoever has no more paths to propose has what it has.
    return {
        "what": "search",
        "table": name,
        "optimizer": label,
        "seed": seed,
        "budget": budget,
        "shares": [shares[min(k, len(shares)) - 1] for k in MARKS if k <= budget],
        "last": shares[-1],
        "whole": next((i + 1 for i, s in enumerate(shares) if s > _WHOLE), None),
        "seconds": seconds,
    }


def _step_by_step(
    truth: Truth, made: Optimizer, seed: int, budget: int
) -> Iterator[tuple[Path, ...]]:
    """All paths so far, after each ask of a search; who has seen enough asks for no more."""
    known = 0
    with archive_of(truth) as archive:
        while known < budget:
            paths = walk(truth, made, seed, min(budget, known + made.batch), archive).paths
            if len(paths) == known:
                return
            known = len(paths)
            yield paths


def plant(name: str, optimizer: str, seed: int, budget: int) -> Record:
    """One run on a planted truth: after how many evaluations the best path is found."""
    truth = PLANTED[name]()
    label, made = parse_optimizer(_with_penalty(optimizer, name))
    walks = _step_by_step(truth, made, seed, budget)
    found = next((paths for paths in walks if truth.best in paths), None)
    at = found.index(truth.best) + 1 if found else None
    return {
        "what": "planted",
        "table": name,
        "optimizer": label,
        "seed": seed,
        "budget": budget,
        "found": at,
    }


def _with_penalty(optimizer: str, name: str) -> str:
    """Whoever knows a price of length pays it where a layer is redundant."""
    if name != "redundant" or optimizer not in ("hm3", "evolution"):
        return optimizer
    return f"{{{optimizer}: {{length_penalty: {LENGTH_PENALTY}}}}}"


def unseen(name: str, known: int, seed: int) -> list[Record]:
    """Advice for withheld preferences, and what its rivals would have given.

    Regrets are differences of augmented Tchebycheff values on the anchored scales; `room` is what
    the exact optimum is worth more than the best source, and negative where a source, which has its
    own embeddings and head, beats every path. `nearest` is a policy that was trained for nothing
    but the nearest of some preferences, as the paper has one for each; `nearest found` is the best
    path that the search itself found for that preference.
    """
    from mergekit_mo.optimizers._advice import Adviser
    from mergekit_mo.optimizers._lessons import settled, tchebycheff
    from mergekit_mo.optimizers.evolution import Evolution
    from mergekit_mo.optimizers.hm3 import HM3

    truth = table(name)
    every = np.array(list(truth.scores.values()))  # n x m
    ideal = np.maximum(every.max(axis=0), truth.parents.max(axis=0))
    others = len(truth.goals) - 1
    withheld, trained = (
        settled(np.array([[s, *[(1 - s) / others] * others] for s in shares]))
        for shares in (_SHARES, _TRAINED)
    )
    found: list[Record] = []
    with archive_of(truth) as archive:
        walk(truth, HM3(), seed, known, archive)
        adviser = Adviser(truth.layers, archive, seed, withheld)
        told = adviser.told
        for i, preference in enumerate(withheld):

            def worth(Y: np.ndarray, wanted: np.ndarray = preference) -> np.ndarray:
                return np.asarray(tchebycheff(Y, wanted[None], ideal)[0])

            best, source = worth(every).max(), worth(truth.parents).max()
            advised = adviser.advise(preference)
            near = trained[np.abs(trained - preference).sum(axis=1).argmin()]
            nearest = Adviser(truth.layers, archive, seed, only=near[None]).advise(near)
            answers: dict[str, list[tuple[tuple[int, int], ...]]] = {
                "policy": [advised.point[1] or ()] if advised else [],
                "nearest": [nearest.point[1] or ()] if nearest else [],
                "nearest found": [told.paths[told.best(near)] or ()],
                "look-up": [t.path or () for t in archive.candidates],
            }
            regrets = {
                who: float(best - worth(rows_of(truth, paths)).max())
                for who, paths in answers.items()
                if paths
            }
            found.append(
                {"preference": _SHARES[i], "room": float(best - source), "regrets": regrets}
            )
        walked = walk(truth, Evolution(), seed, known + _MORE, archive)
    rows = rows_of(truth, walked.paths)
    records = []
    for i, entry in enumerate(found):
        wanted = withheld[i]
        values = tchebycheff(every, wanted[None], ideal)[0]
        more = tchebycheff(rows, wanted[None], ideal)[0].max()
        entry["regrets"]["evolution +20"] = float(values.max() - more)
        head = {"what": "unseen", "table": name, "optimizer": f"after {known}", "seed": seed}
        records.append({**head, **entry})
    return records


def levels(name: str, optimizer: str, seed: int, budget: int) -> Record:
    """One live search with one level of HM3 or with both."""
    from benchmarks._levels import climb, stacks

    label, made = parse_optimizer(optimizer)
    head = {"what": "levels", "table": name, "optimizer": label, "seed": seed, "budget": budget}
    return {**head, **climb(stacks(name), made, seed, budget)}


def published(name: str, optimizer: str, seed: int, budget: int) -> Record:
    """The published method at its full length."""
    from benchmarks._published import full_length
    from mergekit_mo.optimizers.hm3 import HM3

    label, made = parse_optimizer(optimizer)
    assert isinstance(made, HM3)
    truth = table(name)
    paths, facts = full_length(truth, made, seed)
    shares = [truth.volume(rows_of(truth, paths[:k])) / truth.most for k in (*MARKS, len(paths))]
    return {
        "what": "published",
        "table": name,
        "optimizer": label,
        "seed": seed,
        "budget": budget,
        "evaluated": len(paths),
        "shares": [round(float(share), 6) for share in shares],
        **facts,
    }


def records() -> list[Record]:
    """All that is recorded."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def record(entries: Sequence[Record]) -> None:
    """Appends lines."""
    with FileLock(RESULTS.with_name(f".{RESULTS.name}.lock")), RESULTS.open("a") as file:
        file.writelines(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)


def _key(entry: Record) -> tuple[object, ...]:
    return tuple(entry.get(k) for k in ("what", "table", "optimizer", "seed", "budget"))


def report() -> Iterator[str]:
    """Every table, from what is recorded."""
    groups: dict[tuple[str, str, str, int | None], list[Record]] = defaultdict(list)
    for entry in {json.dumps(e, sort_keys=True): e for e in records()}.values():
        groups[entry["what"], entry["table"], entry["optimizer"], entry.get("budget")].append(entry)
    for what, (title, line) in _TABLES.items():
        yield f"{title}"
        for (own, name, optimizer, budget), entries in sorted(groups.items(), key=str):
            if own == what:
                yield f"{name:10} {optimizer:36} {line(entries, budget or 0)}"
        yield ""


def _searched(own: list[Record], budget: int) -> str:
    marks = [k for k in MARKS if k <= budget]
    cells = []
    for i, mark in enumerate(marks):
        values = [e["shares"][i] for e in own]
        cells.append(f"{mark}: {statistics.mean(values):.4f} ({min(values):.4f})")
    whole = [e["whole"] for e in own if e["whole"]]
    middle = f" at {statistics.median(whole):.0f}" if whole else ""
    cells.append(f"whole {len(whole)}/{len(own)}{middle}")
    cells.append(f"{statistics.mean(e['seconds'] for e in own):.2f} s")
    return "  ".join(cells)


def _found(own: list[Record], budget: int) -> str:
    counts = sorted(e["found"] or float("inf") for e in own)
    found = sum(e["found"] is not None for e in own)
    at = statistics.median(counts)
    return f"{found}/{len(own)} of {budget}  median {f'{at:.0f}' if at < float('inf') else '-'}"


def _regretted(own: list[Record], _: int) -> str:
    cells = []
    for who in ("policy", "nearest", "nearest found", "look-up", "evolution +20"):
        values = [e["regrets"][who] for e in own if who in e["regrets"]]
        if values:
            middle = statistics.median(values)
            able = [e for e in own if who in e["regrets"] and e["room"] > 0]
            shares = [e["regrets"][who] / e["room"] for e in able]
            share = f"{statistics.mean(shares):.3f}" if shares else "-"
            cells.append(
                f"{who} {statistics.mean(values):.4f}, {middle:.4f}, {share} ({len(able)})"
            )
    return "  ".join(cells)


def _climbed(own: list[Record], budget: int) -> str:
    cells = []
    for mark in [k for k in LEVEL_MARKS if k <= budget]:
        cells.append(f"{mark}: {statistics.mean(e['trace'][mark - 1] for e in own):.3f}")
    each = " ".join(f"{e['trace'][-1]:.3f}" for e in sorted(own, key=lambda e: int(e["seed"])))
    bent = statistics.mean(e["bent"] / e["front"] for e in own)
    parents = statistics.mean(e["parents"] for e in own)
    return f"{'  '.join(cells)}  [{each}]  parents {parents:.3f}  paths on the front {bent:.0%}"


def _lasted(own: list[Record], budget: int) -> str:
    cells = []
    for e in own:
        shares = ", ".join(f"{k}: {s:.4f}" for k, s in zip(MARKS, e["shares"], strict=False))
        cells.append(f"{budget} episodes, {e['evaluated']} paths: {e['shares'][-1]:.4f} ({shares})")
        first, last, found, best = (statistics.mean(r) for r in zip(*e["rewards"], strict=True))
        cells.append(
            f"mean reward of the first 100 {first:.3f}, of the last {last:.3f}, "
            f"best walked {found:.3f}, best there is {best:.3f}"
        )
    return "; ".join(cells)


_TABLES: dict[str, tuple[str, Callable[[list[Record], int], str]]] = {
    "search": (
        "Share of the exact front's hypervolume, mean (least) over seeds; whole: seeds, median",
        _searched,
    ),
    "published": ("The published method at its full length: the same share", _lasted),
    "planted": (
        "Planted truths: seeds that found the best path within the budget; median evaluations",
        _found,
    ),
    "unseen": (
        "Regret for withheld preferences, anchored Tchebycheff values: mean, median,\n"
        "and of the room above the best source where there is any (count)",
        _regretted,
    ),
    "levels": (
        "Live merges: hold-out hypervolume after so many evaluations, mean over seeds; [each]",
        _climbed,
    ),
}


def main() -> None:
    """Reads the command line and does what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=["wren", "heron"])
    parser.add_argument("--optimizers", nargs="+")
    parser.add_argument("--seeds", default="0-19")
    parser.add_argument("--budget", type=int)
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no new run begins")
    given = parser.parse_args()
    if given.command == "table":
        print("\n".join(report()))
        return
    import torch

    torch.set_num_threads(1)
    until = time.monotonic() + 60 * given.minutes
    if given.command == "score":
        _score(given.tables, until)
        return
    if given.command == "advise":
        for name in given.tables:
            _advise(name)
        return
    first, _, last = given.seeds.partition("-")
    done = {_key(entry) for entry in records()}
    for seed in range(int(first), int(last or first) + 1):
        for head, job in _jobs(given, seed):
            if time.monotonic() > until:
                return
            if head not in done:
                entries = job()
                record(entries)
                print(json.dumps(entries[-1]), flush=True)


def _jobs(given: argparse.Namespace, seed: int) -> Iterator[tuple[tuple[object, ...], Any]]:
    """What a command has to do with a seed."""
    if given.command == "unseen":
        for name in given.tables:
            for known in ADVISED:
                head = ("unseen", name, f"after {known}", seed, None)
                yield head, lambda name=name, known=known: unseen(name, known, seed)
        return
    what, one, names, optimizers, budget = {
        "run": ("search", search, given.tables, RIVALS, BUDGET),
        "planted": ("planted", plant, list(PLANTED), RIVALS, 100),
        "levels": ("levels", levels, given.tables, LEVELS, LEVELS_BUDGET),
        "published": ("published", published, given.tables, [PUBLISHED], 5000),
    }[given.command]
    budget = given.budget or budget
    for name in names:
        for text in given.optimizers or optimizers:
            label = parse_optimizer(_with_penalty(text, name))[0]
            own = (what, name, label, seed, budget)
            yield own, lambda one=one, n=name, t=text: [one(n, t, seed, budget)]


def _advise(name: str, known: int = 50) -> None:
    """Prints processor seconds of advice after so many evaluations, learnt now and kept before."""
    from mergekit_mo.optimizers._advice import Adviser
    from mergekit_mo.optimizers.hm3 import HM3

    truth = table(name)
    preference = np.full(len(truth.goals), 1 / len(truth.goals))
    with archive_of(truth) as archive:
        walk(truth, HM3(), 0, known, archive)
        Adviser(truth.layers, archive).advise(preference)  # what is imported is imported
        checkpoint: bytes | None = None
        for what in ("learnt now", "kept before"):
            begun = time.process_time()
            adviser = Adviser(truth.layers, archive, checkpoint=checkpoint)
            adviser.advise(preference)
            print(f"{name}, {known} trials, {what}: {time.process_time() - begun:.2f} s")
            checkpoint = adviser.checkpoint
    assert checkpoint is not None
    print(f"checkpoint: {len(checkpoint):,} bytes")


def _score(names: Sequence[str], until: float) -> None:
    for name in names:
        for count in score_all(FAMILIES[name]):
            if count % 50 == 0:
                print(f"{name}: {count} rows", flush=True)
            if time.monotonic() > until:
                return
        print(f"{name}: {memo_of(FAMILIES[name]).export():,} bytes")


if __name__ == "__main__":
    main()
