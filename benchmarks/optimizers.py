"""Optimizers side by side: on problems with known fronts, and on real merges of tiny models.

Rule: a run is finished or absent; `run` adds those that are missing, may be stopped at any time,
and several may be under way at once.

    python benchmarks/optimizers.py run [--problems real] [--optimizers sobol qlognehvi] \
        [--seeds 0-3] [--minutes 60]
    python benchmarks/optimizers.py long --problems real   # adds to the best known, nothing else
    python benchmarks/optimizers.py table       # from the results that are shipped; trains nothing
    python benchmarks/optimizers.py export      # packs the memos of real merges for shipping
    python benchmarks/optimizers.py forget --optimizers mm-mo      # it has changed: run it anew
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

from filelock import FileLock, Timeout  # noqa: E402
from rich.console import Console  # noqa: E402

from benchmarks import _table  # noqa: E402
from benchmarks._problem import Problem  # noqa: E402
from benchmarks._runs import Results, Run, parse_optimizer, run  # noqa: E402
from benchmarks.families import FAMILIES, HELD_OUT, SPACES, TUNING  # noqa: E402

DATA = ROOT / "benchmarks" / "data"
RESULTS = DATA / "optimizers.jsonl"
_LONG_SEED = 1000  # of no run that is compared
LOCKS = ROOT / ".cache" / "benchmark"

ANALYTIC = (
    "dtlz2-6-2", "dtlz2-6-3", "dtlz2-20-2", "zdt1", "zdt2", "zdt3", "vehicle-safety", "c2-dtlz2",
    "noisy-dtlz2",
)  # fmt: skip
REAL = tuple(f"{family}-{space}" for family in FAMILIES for space in SPACES)
GROUPS = {
    "analytic": ANALYTIC,
    "real": REAL,
    "tuning": tuple(f"{family}-{space}" for family in TUNING for space in SPACES),
    "held-out": tuple(f"{family}-{space}" for family in HELD_OUT for space in SPACES),
    "all": (*ANALYTIC, *REAL),
}


@cache
def problem(name: str) -> Problem:
    """A problem by its name."""
    if name in ANALYTIC:
        from benchmarks._analytic import Analytic

        return Analytic(name)
    from benchmarks._merges import merges

    return merges(name)


def missing(
    problems: Sequence[str], optimizers: Sequence[str], seeds: Sequence[int], known: Sequence[Run]
) -> Iterator[tuple[str, str, int]]:
    """What is still to be run: a seed's runs on all problems before the next seed's."""
    done = {r.key for r in known}
    for seed in seeds:
        for name in problems:
            for optimizer in optimizers:
                if (name, optimizer, seed) not in done:
                    yield name, optimizer, seed


def work(
    problems: Sequence[str],
    optimizers: Sequence[str],
    seeds: Sequence[int],
    results: Results,
    minutes: float | None = None,
    budget: int | None = None,
) -> int:
    """Runs what is missing; returns how many runs that was.

    Args:
        problems: their names.
        optimizers: as recipes have them.
        seeds: of the runs.
        results: where finished ones are kept.
        minutes: after which no new run begins.
        budget: evaluations, in place of the problems' own.
    """
    made = dict(parse_optimizer(text) for text in optimizers)
    until = None if minutes is None else time.monotonic() + 60 * minutes
    count = 0
    for key in missing(problems, list(made), seeds, results.read()):
        if until is not None and time.monotonic() > until:
            break
        with _claimed(key) as free:
            if not free or any(r.key == key for r in results.read()):
                continue
            begun = time.monotonic()
            name, optimizer, seed = key
            done = run(problem(name), optimizer, made[optimizer], seed, budget)
            results.append(done)
            count += 1
            share = done.trace[-1] / problem(name).most(seed)
            took = time.monotonic() - begun
            print(f"{name:16} {optimizer:24} seed {seed}: {share:.3f} in {took:.0f} s", flush=True)
    return count


def explore(name: str, optimizer: str, budget: int) -> None:
    """One long run on real merges, by a split of its own: it only adds to what is known."""
    label, made = parse_optimizer(optimizer)
    begun, known = time.monotonic(), problem(name)
    done = run(known, label, made, _LONG_SEED, budget)
    share = done.trace[-1] / known.most(_LONG_SEED)
    took = time.monotonic() - begun
    print(f"{name:16} {label}, {budget} evaluations: {share:.3f} in {took:.0f} s", flush=True)


@contextlib.contextmanager
def _claimed(key: tuple[str, str, int]) -> Iterator[bool]:
    """Whether no other process is on this run; none will be while the block lasts."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    path = LOCKS / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.lock"
    try:
        with FileLock(path, timeout=0):
            yield True
    except Timeout:
        yield False


def report(
    runs: Sequence[Run],
    problems: Sequence[str],
    best: str,
    console: Console,
    picture: Path | None = None,
) -> None:
    """Prints every table and the headline, and draws the picture if there is to be one.

    Args:
        runs: finished ones.
        problems: which of them count.
        best: the optimizer that the headline is about.
        console: where to print.
        picture: the file to draw.
    """
    every = _table.lines(
        [r for r in runs if r.problem in problems], lambda name, seed: problem(name).most(seed)
    )
    met = [name for name in problems if any(line.problem == name for line in every)]
    console.print(
        "Shares of the known maximum of hypervolume; means with 95 % intervals over seeds."
    )
    for name in met:
        console.print()
        console.print(_table.problem_table(every, name, name in REAL))
    real = [name for name in met if name in REAL]
    for title, group in (("all real merges", real), *_parts(real)):
        if len(group) > 1:
            console.print()
            console.print(_table.pooled_table(every, group, f"{title} ({', '.join(group)})"))
    if real:
        console.print()
        console.print(_table.headline(every, real, best))
    if every and picture:
        _table.draw(every, picture)


def _parts(real: Sequence[str]) -> list[tuple[str, list[str]]]:
    return [
        (part, [name for name in real if name in GROUPS[part]]) for part in ("tuning", "held-out")
    ]


def _problems(words: Sequence[str]) -> list[str]:
    """Names and groups as names.

    Raises:
        ValueError: there is no such problem.
    """
    found: list[str] = []
    for word in words:
        if word not in GROUPS and word not in GROUPS["all"]:
            known = ", ".join((*GROUPS, *GROUPS["all"]))
            raise ValueError(f"no problem is called {word!r}: there are {known}")
        found += GROUPS.get(word, (word,))
    return list(dict.fromkeys(found))


def _seeds(text: str) -> list[int]:
    """`0-3` or `0,2,5` as numbers."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> None:
    """Reads the command line and does what it says."""
    parser = _parser()
    given = parser.parse_args()
    try:
        _COMMANDS[given.command](given, _problems(given.problems))
    except ValueError as error:
        sys.exit(f"{parser.prog}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    found = {name: commands.add_parser(name) for name in _COMMANDS}
    for command in found.values():
        command.add_argument("--problems", nargs="+", default=["all"], help="names or groups")
        command.add_argument("--results", type=Path, default=RESULTS)
    found["run"].add_argument("--optimizers", nargs="+", default=["sobol", "qlognehvi", "soup"])
    found["run"].add_argument("--seeds", default="0-3")
    found["run"].add_argument("--minutes", type=float, help="after which no new run begins")
    found["run"].add_argument("--budget", type=int, help="instead of the problems' own")
    found["long"].add_argument("--optimizer", default="{nsga2: {population: 24}}")
    found["long"].add_argument("--budget", type=int, default=960)
    found["table"].add_argument("--best", default="mm-mo", help="whom the headline is about")
    found["forget"].add_argument("--optimizers", nargs="+", required=True)
    return parser


def _run(given: argparse.Namespace, problems: Sequence[str]) -> None:
    _one_thread()
    seeds, results = _seeds(given.seeds), Results(given.results)
    work(problems, given.optimizers, seeds, results, given.minutes, given.budget)


def _long(given: argparse.Namespace, problems: Sequence[str]) -> None:
    _one_thread()
    for name in problems:
        if name in REAL:
            explore(name, given.optimizer, given.budget)


def _report(given: argparse.Namespace, problems: Sequence[str]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    whole = set(problems) == set(GROUPS["all"])  # a part's picture would take the whole one's place
    picture = given.results.with_suffix(".png") if whole else None
    report(Results(given.results).read(), problems, given.best, console, picture)


def _forget(given: argparse.Namespace, problems: Sequence[str]) -> None:
    results = Results(given.results)
    names = {parse_optimizer(text)[0] for text in given.optimizers}
    keys = [r.key for r in results.read() if r.optimizer in names and r.problem in problems]
    print(f"{results.forget(keys)} runs are forgotten")


def _export(given: argparse.Namespace, problems: Sequence[str]) -> None:
    del given
    from benchmarks._merges import merges

    for name in problems:
        if name in REAL and (memo := merges(name).memo):
            print(f"{name}: {len(memo)} merges, {memo.export():,} bytes")


def _one_thread() -> None:
    """More threads than free cores are ten times slower, and merges would have other bits."""
    import torch

    torch.set_num_threads(1)


_COMMANDS = {"run": _run, "long": _long, "table": _report, "export": _export, "forget": _forget}


if __name__ == "__main__":
    main()
