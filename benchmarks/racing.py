"""Racing against full scoring: the same real merges in the same order, by their recorded answers.

Rule: nothing is merged here. A run draws a family's recorded merges in an order of its own, and a
split of the items. Full scoring takes the first 60 of them; racing takes the same, and those that
come after, until it has spent half the item evaluations of full scoring. Both are judged on the
held-out items, on the scale that the parents' answers to these very items give: 0 the worst of
them, 1 the best. (On the scale of the search items, whose level may be another, all known merges of
a split may lie below the reference point, and there is no share of nothing.)

    python benchmarks/racing.py [--runs 10] [--first 0] [--rungs 12 24 48] \
        [--pools paths-wren paths-heron]

`paths-FAMILY` are all 729 paths over three sources' layers, so that a run is a random search;
`FAMILY-global` are the merges that several optimizers asked for, most of them near the front.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks._memo import STEP, Row, failed, key_of  # noqa: E402
from benchmarks._merges import bits_per_byte, merges  # noqa: E402
from benchmarks._paths import memo_of, parent_key  # noqa: E402
from benchmarks._statistics import Estimate, bootstrap  # noqa: E402
from benchmarks.families import FAMILIES  # noqa: E402
from mergekit_mo.archive import Archive, Outcome  # noqa: E402
from mergekit_mo.pareto import Matrix, hypervolume  # noqa: E402
from mergekit_mo.races import Ask, Part, Race  # noqa: E402
from mergekit_mo.rivals import race_of  # noqa: E402
from mergekit_mo.scales import reference_point  # noqa: E402
from mergekit_mo.space import Candidate  # noqa: E402
from mergekit_mo.trial import Goal, Stop, Trial  # noqa: E402

Numbers = NDArray[np.intp]

MOST = 60
RUNGS = (12, 24, 48)
HELD_OUT = 0.25  # of the items, as by default
FIRST = 2  # a recipe's own candidates, which answer all
SHARE = 0.5
_METRIC = "bits_per_byte,none"


@dataclass(frozen=True)
class Run:
    """One order of one family's merges, scored in full and raced.

    Attributes:
        pool: whose merges.
        seed: of order and split.
        full: hold-out hypervolume of the search front, as a share of the most that is known: that
            of all recorded merges.
        raced: the same at half the item evaluations.
        merges: how many racing came to before its items were spent; full scoring takes 60.
        spent: item evaluations that racing those 60 takes, as a share of full scoring's.
        stopped: of those 60.
        lost: members of the front by all search items that racing stopped.
        seconds: of a core that races and the archive take for a candidate.
    """

    pool: str
    seed: int
    full: float
    raced: float
    merges: int
    spent: float
    stopped: int
    lost: int
    seconds: float


@dataclass(frozen=True)
class Judge:
    """The scale of a split's held-out items.

    Attributes:
        goals: their names.
        worst: of each goal the worst parent's score, more being better.
        best: and the best parent's.
    """

    goals: tuple[str, ...]
    worst: Matrix
    best: Matrix

    def volume(self, trials: Sequence[Trial]) -> float:
        """The hypervolume of trials by their hold-out scores."""
        found = -np.array([[t.holdout[name].value for name in self.goals] for t in trials])
        scaled = (found - self.worst) / (self.best - self.worst)
        return hypervolume(scaled, reference_point(len(self.goals)))


@dataclass(frozen=True)
class Pool:
    """Recorded merges of one family.

    Attributes:
        name: of the pool.
        sizes: of each goal, the bytes of every item.
        parents: answers of base and sources.
        rows: answers of the merges.
    """

    name: str
    sizes: Mapping[str, Sequence[int]]
    parents: tuple[Row, ...]
    rows: tuple[Row, ...]

    @property
    def goals(self) -> tuple[Goal, ...]:
        """Bits per byte of each task."""
        return tuple(Goal(name, False) for name in self.sizes)

    def items(self, seed: int) -> dict[str, tuple[Numbers, Numbers]]:
        """By goal the items that a run searches by, and those that it is judged by."""
        found = {}
        for i, (name, sizes) in enumerate(self.sizes.items()):
            order = np.random.default_rng((seed, i)).permutation(len(sizes))
            first = round(len(sizes) * (1 - HELD_OUT))
            found[name] = np.sort(order[:first]), np.sort(order[first:])
        return found

    def judge(self, seed: int) -> Judge:
        """What tells how good merges are on the held-out items of a split."""
        scores = [self.outcomes(row, seed)[1].scores for row in self.parents]
        found = -np.array([[own[name].value for name in self.sizes] for own in scores])
        return Judge(tuple(self.sizes), found.min(axis=0), found.max(axis=0))

    def outcomes(self, row: Row, seed: int) -> tuple[Outcome, Outcome]:
        """What a merge scores on the search items, with its answers to them; and on the others."""
        search, true, answers, at = {}, {}, {}, 0
        for name, (seen, held) in self.items(seed).items():
            sizes = np.array(self.sizes[name], dtype=float)
            nats = row[at : at + len(sizes)].astype(float) * STEP
            at += len(sizes)
            search[name] = bits_per_byte(nats[seen], sizes[seen])
            true[name] = bits_per_byte(nats[held], sizes[held])
            pairs = np.column_stack([-nats[seen], sizes[seen]]).tolist()
            answers[name] = {"values": {_METRIC: pairs}}
        return Outcome(search, answers, None, None, 0.0), Outcome(true, {}, None, None, 0.0)


def pool(name: str) -> Pool:
    """A pool by its name."""
    kind, _, rest = name.partition("-")
    if kind == "paths":
        memo = memo_of(FAMILIES[rest])
        parents = {parent_key(i) for i in range(4)}
    else:
        problem = merges(name)
        problem.memo.refresh()
        memo = problem.memo
        parents = {key_of(problem.family.digest, r.config) for r in problem.references(0)}
    assert memo.about is not None
    rows = sorted((k, r) for k, r in memo.rows.items() if k not in parents and not failed(r))
    known = [memo.rows[key] for key in sorted(parents)]
    return Pool(name, memo.about.sizes, tuple(known), tuple(row for _, row in rows))


def run(found: Pool, seed: int, rungs: Sequence[int] = RUNGS) -> Run:
    """Both arms over one stream."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 7)))
    rows = [found.rows[i] for i in rng.permutation(len(found.rows))]
    judge = found.judge(seed)
    with _archive(found, seed, ()) as archive:
        total = sum(_play(found, archive, row, seed) for row in rows[:MOST])
        full = judge.volume(archive.front())
        front = {t.number for t in archive.front()}
    half, asked, spent, came = None, 0, 0.0, 0
    with _archive(found, seed, rungs) as archive:
        begun = time.process_time()
        while half is None or came < MOST:
            asked += _play(found, archive, rows[came], seed)
            if half is None and asked > SHARE * total:  # the last one went beyond, and is left out
                known = archive.front_of(archive.candidates[:-1])
                half, reached = judge.volume(known), came
            came += 1
            spent = asked / total if came == MOST else spent
        seconds = (time.process_time() - begun) / came
        stops = {t.number for t in archive.candidates[:MOST] if t.stopped}
    with _archive(found, seed, ()) as archive:
        for row in found.rows:
            _play(found, archive, row, seed)
        most = judge.volume(archive.candidates)
    return Run(
        found.name,
        seed,
        full / most,
        half / most,
        reached,
        spent,
        len(stops),
        len(front & stops),
        seconds,
    )


def _archive(found: Pool, seed: int, rungs: Sequence[int]) -> Archive:
    """An archive with the parents in it, that races where there are rungs."""
    facts = {
        "items": {name: {"search": seen.tolist()} for name, (seen, _) in found.items(seed).items()},
        "measures": {name: [name, _METRIC] for name in found.sizes},
        "search": {"evaluation": {"rungs": list(rungs)}, "seed": seed},
    }
    archive = Archive.create(":memory:", found.goals, facts)
    for number, row in enumerate(found.parents):
        archive.propose("reference", [(f"parent {number}", {})])
        archive.finish(number, found.outcomes(row, seed)[0], 0.0)
    return archive


def _play(found: Pool, archive: Archive, row: Row, seed: int) -> int:
    """One recorded merge as the next candidate; returns how many items it was asked."""
    turn = len(archive.candidates)
    unit = (turn / len(found.rows),)
    (trial,) = archive.propose("candidate", [(Candidate(unit, "recorded"), {})], turn)
    search, true = found.outcomes(row, seed)
    race = race_of(archive, trial) if turn >= FIRST else None
    if race is not None:
        values, rival = race.run(_asker(search.answers, race), {})
        if rival is not None:
            count = sum(len(own) for own in values.values())
            stop = Stop(count, race.plan.items, rival)
            archive.finish(
                trial.number, Outcome(race.scores(values), {}, None, None, 0.0, stopped=stop), 0.0
            )
            return count
    archive.finish(trial.number, search, 0.0)
    archive.finish(trial.number, true, 0.0, "holdout")
    return sum(len(seen) for seen, _ in found.items(seed).values())


def _asker(answers: Mapping[str, Any], race: Race) -> Ask:
    """What asks recorded answers."""
    places = {
        task: {document: i for i, document in enumerate(sorted(order.ids))}
        for task, order in race.plan.orders.items()
    }

    def ask(part: Part, *, told: bool) -> dict[str, NDArray[np.float64]]:
        del told
        found = {}
        for task, documents in part.items():
            pairs = np.array(answers[task]["values"][_METRIC])
            chosen = [places[task][document] for document in documents]
            found[task] = race.measures[task].values(pairs[chosen].tolist())
        return found

    return ask


def report(runs: Sequence[Run]) -> None:
    """Prints what was found."""
    for r in runs:
        print(
            f"{r.pool:14} seed {r.seed}: full {r.full:.4f}, raced {r.raced:.4f} "
            f"({r.raced - r.full:+.4f}), of {r.merges} merges; of the first {MOST}: {r.stopped} "
            f"stopped, {r.lost} of the front, {r.spent:.0%} of the items"
        )
    groups: dict[str, list[float]] = {}
    for r in runs:
        groups.setdefault(r.pool, []).append(r.raced - r.full)
    found: Estimate = bootstrap(list(groups.values()))
    lost = sum(r.lost > 0 for r in runs)
    spent = float(np.mean([r.spent for r in runs]))
    print(
        f"{len(runs)} paired runs: hypervolume at {SHARE:.0%} of the items "
        f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}] in share of the known most"
    )
    print(f"a member of the full front was stopped in {lost} of {len(runs)} runs")
    print(f"items that racing the same {MOST} merges takes: {spent:.0%} of full scoring's")
    cost = 1000 * float(np.median([r.seconds for r in runs]))
    print(f"races and the archive take {cost:.0f} ms of a core for a candidate")


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pools", nargs="+", default=["paths-wren", "paths-heron"])
    parser.add_argument("--runs", type=int, default=10, help="of each pool")
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--rungs", type=int, nargs="+", default=list(RUNGS))
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.runs)
    runs = [run(found, s, given.rungs) for found in map(pool, given.pools) for s in seeds]
    report(runs)


if __name__ == "__main__":
    main()
