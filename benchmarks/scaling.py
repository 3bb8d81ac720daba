"""What several workers gain and lose: how busy they are, and how good the front is at the end.

The search's own loop runs with its own archive on disk; only the workers are simulated. An
evaluation takes 60 seconds on average (lognormal) on a simulated clock, on which the time that the
loop and the optimizer really take passes as it is, in processor seconds of one core.

Rule: the busy share counts from the first candidate to the last that is handed out; after that
there is nothing left to give to workers, however good the search is, and `end to end` has it all.
How much that end weighs depends on how many trials each worker has had: compare workers at equal
budgets for the front (`--budget`), and at equal trials a worker for the time (`--each`).

    python benchmarks/scaling.py [--workers 1 8 32] [--problems zdt1] [--seeds 3] [--budget 96]
    python benchmarks/scaling.py --optimizers sobol --each 40
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

from numpy.random import SeedSequence  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks._analytic import TASKS, Analytic  # noqa: E402
from benchmarks._problem import Problem, record  # noqa: E402
from benchmarks._runs import parse_optimizer  # noqa: E402
from mergekit_mo.archive import Archive, Outcome  # noqa: E402
from mergekit_mo.budget import Budget  # noqa: E402
from mergekit_mo.clock import Clock  # noqa: E402
from mergekit_mo.dispatch import Dispatch  # noqa: E402
from mergekit_mo.evaluate import Job  # noqa: E402
from mergekit_mo.events import Finished  # noqa: E402
from mergekit_mo.loop import run_candidates  # noqa: E402
from mergekit_mo.optimizers import Optimizer  # noqa: E402
from mergekit_mo.preflight import Ready  # noqa: E402
from mergekit_mo.space import Candidate, Space  # noqa: E402
from mergekit_mo.testing.simulated import Simulated  # noqa: E402

MEAN, SIGMA = 60.0, 0.5  # seconds; of the logarithm
_MU = math.log(MEAN) - SIGMA**2 / 2


@dataclass(frozen=True)
class Result:
    """One search.

    Attributes:
        busy: the share of the workers' time that was work while there was work to give.
        whole: likewise to the end of the last evaluation.
        hours: from the first candidate to that end.
        asking: median seconds of a proposal of one candidate or several, beyond the first ones.
        share: the front's hypervolume, of the known maximum.
    """

    busy: float
    whole: float
    hours: float
    asking: float
    share: float


class Timed(Optimizer):
    """An optimizer, with the seconds that each ask takes."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner = inner
        self.seconds: list[float] = []

    def ask(
        self, space: Space, archive: Archive, count: int, seed: SeedSequence
    ) -> list[Candidate]:
        """See `Optimizer.ask`."""
        start = time.process_time()
        found = self.inner.ask(space, archive, count, seed)
        self.seconds.append(time.process_time() - start)
        return found

    @property
    def batch(self) -> int:
        """See `Optimizer.batch`."""
        return self.inner.batch


def run(
    problem: Problem, optimizer: Optimizer, workers: int, seed: int, budget: int, ahead: int | None
) -> Result:
    """Searches a problem with simulated workers."""
    asked = Timed(optimizer)
    recipe = SimpleNamespace(budget=budget, seed=seed)
    # All of a search that is ready that the loop looks at while it runs candidates.
    ready = cast(Ready, SimpleNamespace(space=problem.space, optimizer=asked, recipe=recipe))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.db"
        with Archive.create(path, problem.goals, {**problem.facts(), "auxiliary": []}) as archive:
            _plant(problem, archive, seed)

            def work(job: Job) -> Outcome:
                trial = next(t for t in archive.trials if t.number == job.number)
                candidate = Candidate(trial.unit or (), trial.origin)
                scored = problem.score(candidate, job.config, seed)
                return Outcome(scored.search, {}, None, scored.error, 0.0)

            def seconds(job: Job) -> float:
                return random.Random(f"{seed} {job.number}").lognormvariate(_MU, SIGMA)

            executor = Simulated(work, workers, seconds, time.process_time, ahead)
            jobs = Dispatch(archive, executor)
            clock = Clock(archive, Budget(budget), 0.0)
            done = [e for e in run_candidates(ready, jobs, clock) if isinstance(e, Finished)]
            assert len(done) == budget
            share = archive.hypervolume(archive.front()) / problem.most(seed)
    return _result(executor, workers, asked.seconds, share)


def _plant(problem: Problem, archive: Archive, seed: int) -> None:
    for reference in problem.references(seed):
        (trial,) = archive.propose("reference", [(reference.name, reference.config)])
        record(archive, trial.number, reference.scored)


def _result(
    executor: Simulated[Any, Any], workers: int, asking: Sequence[float], share: float
) -> Result:
    first = min(start for start, _ in executor.spans)
    last = max(start for start, _ in executor.spans)
    end = max(end for _, end in executor.spans)
    early = sum(min(end, last) - start for start, end in executor.spans)
    late = sum(end - start for start, end in executor.spans)
    return Result(
        early / (workers * (last - first)),
        late / (workers * (end - first)),
        (end - first) / 3600,
        statistics.median(asking[1:] or asking),
        share,
    )


def _row(results: Sequence[Result]) -> list[str]:
    shares = [r.share for r in results]
    error = statistics.stdev(shares) / math.sqrt(len(shares)) if len(shares) > 1 else math.nan
    return [
        f"{min(r.busy for r in results):.2%}",
        f"{statistics.mean(r.busy for r in results):.2%}",
        f"{min(r.whole for r in results):.1%}",
        f"{statistics.mean(r.whole for r in results):.1%}",
        f"{statistics.mean(r.hours for r in results):.2f}",
        f"{statistics.median(r.asking for r in results):.2f}",
        f"{statistics.mean(shares):.4f} ± {error:.4f}",
    ]


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--problems", nargs="+", default=["zdt1"], choices=sorted(TASKS))
    parser.add_argument("--optimizers", nargs="+", default=["mm-mo"])
    parser.add_argument("--seeds", type=int, default=3)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--budget", type=int, default=96, help="evaluations of a search")
    amount.add_argument("--each", type=int, help="evaluations for each worker, instead")
    parser.add_argument(
        "--ahead", type=int, help="jobs that wait for a worker; 0: ask only when one idles"
    )
    args = parser.parse_args()
    title = f"evaluations of {MEAN:.0f} s on average, {args.seeds} seeds"
    table = Table(box=None, title=title)
    names = ("problem", "optimizer", "workers", "trials", "busy, least", "busy")
    rest = ("end to end, least", "end to end", "hours", "ask s", "share of the front")
    for column in (*names, *rest):
        table.add_column(column, justify="left" if column in names[:2] else "right")
    for name in args.problems:
        for text in args.optimizers:
            kind, optimizer = parse_optimizer(text)
            for workers in args.workers:
                results = []
                budget = workers * args.each if args.each else args.budget
                for seed in range(args.seeds):
                    problem = Analytic(name)
                    found = run(problem, optimizer, workers, seed, budget, args.ahead)
                    results.append(found)
                    print(name, kind, workers, seed, found, file=sys.stderr, flush=True)
                table.add_row(name, kind, str(workers), str(budget), *_row(results))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
