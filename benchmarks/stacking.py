"""What a new path over layers that are merged already costs beside the model's own calls.

Rule: processor time of this process, so that other work on the machine does not count; the first
evaluation of each, which merges and reads, is left out.

    python benchmarks/stacking.py [--family wren] [--paths 12]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, only this folder is on the path
    sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402

from benchmarks.families import FAMILIES, located, recipe, trained  # noqa: E402
from mergekit_mo.console import quiet_libraries  # noqa: E402
from mergekit_mo.evaluate import Evaluator, Job  # noqa: E402
from mergekit_mo.merging import Merged  # noqa: E402
from mergekit_mo.options import MergeFlags  # noqa: E402
from mergekit_mo.preflight import Ready, prepare  # noqa: E402
from mergekit_mo.testing.planted import random_path  # noqa: E402


def ready_of(name: str, folder: Path) -> Ready:
    """A search over merges and paths of a family."""
    family = FAMILIES[name]
    tasks = trained(family, print) / "tasks"
    tree = dict(located(yaml.safe_load(recipe(family, "global")), family))
    tree["search"] = {
        "objectives": [{"task": str(tasks / f"{goal}.yaml")} for goal in family.goals],
        "evaluation": {"batch_size": 64},
        "layers": {"skip": 1, "repeat": 1},
        "optimizer": "hm3",
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return prepare(path, MergeFlags(device="cpu", num_threads=1))


class Clock:
    """Counts merges, and the processor time of making models.

    Args:
        evaluator: whose models they are.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.making = 0.0
        self.merges = 0
        merger: Any = evaluator.merger
        make, run = merger.merge, merger._run

        def timed(*args: Any, **kwargs: Any) -> Merged:
            begun = time.process_time()
            merged: Merged = make(*args, **kwargs)
            self.making += time.process_time() - begun
            return merged

        def counted(*args: Any, **kwargs: Any) -> None:
            self.merges += 1
            run(*args, **kwargs)

        merger.merge, merger._run = timed, counted

    def share(self, job: Job) -> float:
        """The share of an evaluation that is not asking the model."""
        begun, before = time.process_time(), self.making
        outcome = self.evaluator(job)
        if outcome.error:
            raise RuntimeError(outcome.error)
        return (self.making - before) / (time.process_time() - begun)


def shares(name: str, count: int) -> tuple[list[float], int]:
    """The shares of so many paths, and how many merges were made for them."""
    with tempfile.TemporaryDirectory() as folder:
        ready = ready_of(name, Path(folder))
        layers = ready.space.layers
        assert layers is not None
        config = ready.space.config(ready.space.starts()[0].unit)
        clock, draw = Clock(ready.evaluator()), random.Random(0)
        paths = [layers.straight, *(random_path(layers, draw) for _ in range(count))]
        jobs = [Job(i, config, "search", layers.walk(path)) for i, path in enumerate(paths)]
        clock.share(jobs[0])
        before = clock.merges
        return [clock.share(job) for job in jobs[1:]], clock.merges - before


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=FAMILIES, default="wren")
    parser.add_argument("--paths", type=int, default=12)
    given = parser.parse_args()
    quiet_libraries()
    found, merges = shares(given.family, given.paths)
    print(
        f"{given.family}: making the model of a new path is {statistics.median(found):.1%} of an "
        f"evaluation (median of {len(found)}, {min(found):.1%} to {max(found):.1%}); "
        f"merges made for them: {merges}"
    )


if __name__ == "__main__":
    main()
