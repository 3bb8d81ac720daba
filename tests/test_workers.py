"""What is said of workers: what contradicts the machines, and how cores and GPUs are shared."""

from __future__ import annotations

import pytest

from mergekit_mo import workers as module
from mergekit_mo.machine import free_cores
from mergekit_mo.options import MergeFlags
from mergekit_mo.problems import UserError
from mergekit_mo.workers import Node, Workers, settle

CPU, ANY = MergeFlags(device="cpu"), MergeFlags()


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """The machines that there are, for the test to fill."""
    found: list[Node] = []
    monkeypatch.setattr(module, "_nodes", lambda _: found)
    return found


def complaint(workers: Workers, flags: MergeFlags = ANY, device: str = "auto") -> str:
    with pytest.raises(UserError) as caught:
        settle(workers, flags, device)
    assert caught.value.status == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (
            Workers(count=4),
            "--workers 4 needs several workers, and inline has one: say --executor processes",
        ),
        (
            Workers(gpus_per_trial=2),
            "--gpus-per-trial 2 needs several workers, and inline has one: "
            "say --executor processes",
        ),
        (
            Workers(ray_address="auto"),
            "--ray-address auto needs several workers, and inline has one: say --executor ray",
        ),
        (
            Workers("processes", 2, ray_address="auto"),
            "--ray-address is of no use to the executor processes",
        ),
    ],
)
def test_flags_that_would_be_ignored_are_refused(workers: Workers, expected: str) -> None:
    assert complaint(workers, CPU) == expected


def test_inline_takes_all_cores_or_those_it_is_told() -> None:
    assert settle(Workers(), CPU, "auto").threads == free_cores()
    assert settle(Workers(), MergeFlags(device="cpu", num_threads=3), "auto").threads == 3


def test_without_gpus_the_number_has_to_be_said(machines: list[Node]) -> None:
    machines.append(Node(cores=8, gpus=0))
    assert complaint(Workers("processes"), CPU) == (
        "how many workers? On cpu each has its own models in the same memory: say --workers N"
    )
    assert complaint(Workers("ray", 2, gpus_per_trial=1), CPU) == (
        "--gpus-per-trial 1, but models are on cpu: say --device cuda, or leave it out"
    )


def test_workers_divide_the_cores(machines: list[Node]) -> None:
    machines.append(Node(cores=8, gpus=0))
    assert settle(Workers("processes", 3), CPU, "auto").threads == 2
    assert settle(Workers("processes", 20), CPU, "auto").threads == 1


def test_a_worker_for_each_gpu_or_group_of_them(machines: list[Node]) -> None:
    machines += [Node(cores=16, gpus=4), Node(cores=4, gpus=3)]
    found = settle(Workers("ray"), ANY, "auto")
    assert (found.workers.count, found.workers.gpus, found.device) == (7, 1, "cuda")
    assert found.threads == 1  # three workers on four cores
    pairs = settle(Workers("ray", gpus_per_trial=2), ANY, "auto")
    assert (pairs.workers.count, pairs.workers.gpus, pairs.threads) == (3, 2, 4)
    assert settle(Workers("ray", 2, 2), ANY, "auto").threads == 8


def test_more_gpus_than_there_are_is_told(machines: list[Node]) -> None:
    machines += [Node(cores=16, gpus=4), Node(cores=16, gpus=3)]
    assert complaint(Workers("ray", 4, 2)) == (
        "4 workers of 2 GPUs each, but there are GPUs for 3 (on each machine: 4, 3): "
        "lower --workers or --gpus-per-trial"
    )
    assert complaint(Workers("ray", gpus_per_trial=5)).startswith("1 workers of 5 GPUs each")


def test_one_device_is_not_for_several_workers(machines: list[Node]) -> None:
    machines.append(Node(cores=8, gpus=2))
    assert complaint(Workers("ray"), device="cuda:1") == (
        "cuda:1 is one device, and every worker has its own: say --device cuda"
    )


def test_where_ray_is_missing_the_way_to_install_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mergekit_mo.optional.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install 'mergekit-mo\\[ray\\]'") as caught:
        settle(Workers("ray", 2), CPU, "auto")
    assert caught.value.status == 4
