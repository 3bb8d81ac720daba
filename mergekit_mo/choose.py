"""One trial from a front: the knee, a stated preference, bounds to keep, or a number.

Rule: only search scores choose; the hold-out is for looking at, and a trial beyond a threshold is
taken by its number alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from mergekit_mo.archive import Archive
from mergekit_mo.pareto import Matrix
from mergekit_mo.problems import UserError, near
from mergekit_mo.traded import Choice, choice
from mergekit_mo.trial import Goal, Trial

RULES = ("knee",)
"""What `pick --by` takes."""

_AUGMENTATION = 0.05  # of the sum in the augmented Tchebycheff distance, as in ParEGO
_FLAT = 1e-9  # on scales of about 1: nearer than this is equal
_LEANING = 1e-3  # of a plane's normal: one goal must not be worth a thousand of another
_AMOUNT = re.compile(r"\s*(.+?)\s*=\s*([-+]?[0-9.][0-9.eE+-]*)\s*(?:,|$)")


class UnmetError(UserError):
    """No trial of the front keeps the bounds; `nearest` is the number of the nearest one."""

    def __init__(self, message: str, nearest: int) -> None:
        super().__init__(message)
        self.nearest = nearest


class UnknownGoalError(UserError):
    """A goal that the run does not have; `meant` is the nearest that it has, if one is near."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no goal is called {name!r}; {near(name, known, what='goals')}", status=2)
        self.name = name
        self.meant = next(iter(get_close_matches(name, known, n=1)), None)


def knee(archive: Archive) -> Choice:
    """The trial that lies farthest beyond the plane through the extremes of the front.

    Where none lies beyond it (a front that is bent inwards, or straight), what is gained on one
    goal always costs as much on another; the most even trade-off is taken then.

    Raises:
        UserError: the front is empty.
    """
    front = _front(archive)
    if len(front) == 1:
        return choice(archive, front[0], "the front has one trial")
    Y = _scaled(archive, front)
    row = knee_row(Y)
    if row is not None:
        what = "the knee: farthest beyond the plane through the front's extremes"
        return choice(archive, front[row], what)
    U = (Y - Y.max(axis=0)) / np.where(np.ptp(Y, axis=0) > 0, np.ptp(Y, axis=0), 1.0)
    row = _nearest(U, np.ones(U.shape[1]), np.zeros(U.shape[1]))
    what = "no trial lies beyond the plane through the front's extremes, so there is no knee; "
    return choice(archive, front[row], what + "this is the most even trade-off")


def prefer(archive: Archive, weights: Mapping[str, float]) -> Choice:
    """The trial that is nearest to the ideal of front and parents, goals weighted.

    Args:
        archive: of the run.
        weights: by goal, not negative, of any sum; a goal without one only breaks ties.

    Raises:
        UserError: the front is empty, or the weights make no sense.
    """
    goals = archive.goals
    _check_names(weights, goals)
    total = sum(weights.values())
    for name, weight in weights.items():
        if weight < 0:
            what = f"the weight of {name} is {weight:g}: more is better on every scale already"
            raise UserError(f"{what}, so weights are 0 or more", status=2)
    if not 0 < total < math.inf:
        raise UserError("one weight at least must be above 0", status=2)
    shares = {goal.name: weights.get(goal.name, 0.0) / total for goal in goals}
    front = _front(archive)
    w = np.array(list(shares.values()))
    row = _nearest(_scaled(archive, front), w, _ideal(archive, front))
    words = ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share)
    return choice(archive, front[row], f"nearest to the best of everything, weighted {words}")


def at_least(archive: Archive, bounds: Mapping[str, float]) -> Choice:
    """The trial that keeps bounds and is best on the remaining goals, each worth the same.

    Args:
        archive: of the run.
        bounds: by goal, in its own units: a least where more is better, else a most.

    Raises:
        UnmetError: no trial of the front keeps them; says which comes nearest.
        UserError: the front is empty, or a goal is unknown.
    """
    goals = archive.goals
    _check_names(bounds, goals)
    if not bounds:
        raise UserError("no bound was given", status=2)
    front = _front(archive)
    Y = _scaled(archive, front)
    limits = [Goal(g.name, g.maximize, bounds.get(g.name)) for g in goals]
    able = [i for i, t in enumerate(front) if all(g.allows(t.scores[g.name].value) for g in limits)]
    if not able:
        _complain(archive, front, limits)
    rest = np.array([float(g.name not in bounds) for g in goals])
    w = rest if rest.any() else np.ones(len(goals))
    row = able[_nearest(Y[able], w, _ideal(archive, front))]
    kept = ", ".join(_bound(goal) for goal in limits if goal.threshold is not None)
    others = ", ".join(g.name for g, on in zip(goals, rest, strict=True) if on)
    why = f"{len(able)} of {len(front)} on the front keep {kept}"
    why += f"; of these the best in {others}" if others else "; of these the most even trade-off"
    return choice(archive, front[row], why, _narrow(front[row], limits))


def numbered(archive: Archive, number: int) -> Choice:
    """The trial of a number, whatever it is worth, as long as it was scored.

    Raises:
        UserError: there is none, or it was not scored.
    """
    trial = archive.trial(number)
    front = archive.front()
    listing = f"on the front: {', '.join(str(t.number) for t in front) or 'none'}"
    if trial is None:
        raise UserError(f"there is no trial {number}; {listing}", status=2)
    if trial.status != "done":
        died = f"failed: {(trial.error or '').partition(chr(10))[0]}"
        state = died if trial.status == "failed" else "was proposed, but has not been run"
        state = f"was {trial.stopped.text()}" if trial.stopped else state
        raise UserError(f"trial {number} {state}; {listing}", status=2)
    return choice(archive, trial, "asked for by its number", _doubts(archive, trial, front))


def read_amounts(texts: Sequence[str], option: str) -> dict[str, float]:
    """Reads `goal=0.7,other=0.3`; a goal's name may have commas in it.

    Raises:
        UserError: it is not of that form, or names a goal twice.
    """
    amounts: dict[str, float] = {}
    for text in texts:
        at = 0
        while at < len(text) or not text:
            found = _AMOUNT.match(text, at)
            value = _number(found[2]) if found else None
            if found is None or value is None:
                what = f"{option} takes GOAL=NUMBER, several with commas between, not {text!r}"
                raise UserError(what, status=2)
            if found[1] in amounts:
                raise UserError(f"{option} names {found[1]} twice", status=2)
            amounts[found[1]] = value
            at = found.end()
    return amounts


def knee_row(Y: Matrix) -> int | None:
    """The row farthest beyond the plane through the extremes; None where no row lies beyond it.

    Distances are compared along one direction, so the scales of the columns do not matter.

    Args:
        Y: `n x m`, maximised; a front, equal rows and flat columns allowed.
    """
    spans = np.ptp(Y, axis=0)
    flat = spans <= _FLAT * np.maximum(1.0, np.abs(Y).max(axis=0))
    if (~flat).sum() < 2:
        return None
    U = (Y[:, ~flat] - Y[:, ~flat].min(axis=0)) / spans[~flat]  # n x k, each column 0 to 1
    normal = _normal(U)
    beyond = U @ normal - 1.0
    row = int(np.argmax(beyond))
    return row if beyond[row] > _FLAT else None


def _normal(U: Matrix) -> Matrix:
    """The plane `u @ normal == 1` through the best row of each column.

    Where these rows lie on no plane that falls in every goal (rows that are best in several, or
    nearly so), the plane through the unit points takes its place; with two goals both are one.
    """
    # Of several rows that are best in a column, the one with the best rest.
    extremes = np.array([U[np.lexsort((-U.sum(axis=1), -column))[0]] for column in U.T])
    k = U.shape[1]
    if np.linalg.matrix_rank(extremes, tol=1e-6) == k:
        normal = np.linalg.solve(extremes, np.ones(k))
        if normal.min() > _LEANING * normal.max():
            return np.asarray(normal, dtype=float)
    return np.ones(k)


def _nearest(Y: Matrix, weights: Matrix, ideal: Matrix) -> int:
    """The row with the least augmented Tchebycheff distance from the ideal."""
    gaps = ideal - Y  # n x m
    weighted = gaps * (weights / weights.sum())
    distances = weighted.max(axis=1) + _AUGMENTATION * weighted.sum(axis=1)
    return int(np.lexsort((gaps.sum(axis=1), np.round(distances, 9)))[0])


def _widths(archive: Archive, front: Sequence[Trial]) -> Matrix:
    """What divides each anchored column: 1; without anchors, how far the front stretches."""
    spans = np.ptp(archive.matrix(front), axis=0)
    anchored = [scale.anchored for scale in archive.scales]
    return np.where(np.array(anchored) | (spans <= 0), 1.0, spans)


def _scaled(archive: Archive, front: Sequence[Trial]) -> Matrix:
    return archive.matrix(front) / _widths(archive, front)


def _ideal(archive: Archive, front: Sequence[Trial]) -> Matrix:
    """The best of front and parents in each goal."""
    both = [*front, *(t for t in archive.references if t.status == "done")]
    return np.asarray((archive.matrix(both) / _widths(archive, front)).max(axis=0))


def _front(archive: Archive) -> tuple[Trial, ...]:
    front = archive.front()
    if not front:
        done = [t for t in archive.candidates if t.status == "done"]
        failed = sum(t.status == "failed" for t in archive.candidates)
        why = f"{len(done)} merges were scored, {failed} failed"
        why += ", and all that were scored are beyond a threshold" if done else ""
        raise UserError(f"the front is empty: {why}")
    return front


def _check_names(amounts: Mapping[str, float], goals: Sequence[Goal]) -> None:
    names = [goal.name for goal in goals]
    for name, amount in amounts.items():
        if name not in names:
            raise UnknownGoalError(name, names)
        if not math.isfinite(amount):
            raise UserError(f"{name} needs a finite number, got {amount}", status=2)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _bound(goal: Goal) -> str:
    return f"{goal.name} {'≥' if goal.maximize else '≤'} {goal.threshold:g}"


def _complain(archive: Archive, front: Sequence[Trial], limits: Sequence[Goal]) -> None:
    """Says which trial comes nearest to the bounds, and by how much it misses them."""
    wide = [scale.width for scale in archive.scales] * _widths(archive, front)
    gaps = {trial.number: _misses(trial, limits) for trial in front}
    by_number = {
        number: max(missed / w for missed, w in zip(misses, wide, strict=True))
        for number, misses in gaps.items()
    }
    nearest = min(by_number, key=lambda number: by_number[number])
    trial = next(t for t in front if t.number == nearest)
    words = ", ".join(
        f"{g.name} {trial.scores[g.name].value:.4g} misses {g.threshold:g} by {missed:.2g}"
        for g, missed in zip(limits, gaps[nearest], strict=True)
        if missed > 0
    )
    kept = ", ".join(_bound(goal) for goal in limits if goal.threshold is not None)
    raise UnmetError(
        f"no trial of the front keeps {kept}; trial {nearest} comes nearest: {words}", nearest
    )


def _misses(trial: Trial, limits: Sequence[Goal]) -> list[float]:
    """By how much a trial misses each bound, 0 where it keeps it or there is none."""
    return [
        0.0
        if g.threshold is None
        else max(0.0, g.sign * (g.threshold - trial.scores[g.name].value))
        for g in limits
    ]


def _narrow(trial: Trial, limits: Sequence[Goal]) -> list[str]:
    """Bounds that are kept by less than the score's own error."""
    notes = []
    for goal in limits:
        score = trial.scores[goal.name]
        if goal.threshold is not None and score.stderr:
            room = goal.sign * (score.value - goal.threshold)
            if room < score.stderr:
                note = f"{_bound(goal)} is kept by {room:.2g}, less than the standard error"
                notes.append(f"{note}, {score.stderr:.2g}")
    return notes


def _doubts(archive: Archive, trial: Trial, front: Sequence[Trial]) -> list[str]:
    """What speaks against a trial that was asked for by its number."""
    name = f"trial {trial.number}"
    if trial.role == "reference":
        return [f"{name} is a parent as it is, {trial.origin}, not a merge"]
    notes = []
    for goal in archive.goals:
        score = trial.scores[goal.name].value
        if not goal.allows(score):
            notes.append(
                f"{name} is beyond a threshold: {goal.name} {score:.4g}, not {_bound(goal)}"
            )
    if trial in front or not front:
        return notes
    Y, y = archive.matrix(front), archive.matrix([trial])[0]
    equal = next((t.number for t, row in zip(front, Y, strict=True) if (row == y).all()), None)
    above = [str(t.number) for t, row in zip(front, Y, strict=True) if (row >= y).all()]
    if equal is not None:
        notes.append(f"{name} has the same scores as trial {equal}, which stands on the front")
    elif above:
        notes.append(
            f"{name} is dominated: as good or better on every goal is {' '.join(above[:5])}"
        )
    return notes
