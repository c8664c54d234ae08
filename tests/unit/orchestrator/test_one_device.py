"""Tests which device is chosen for jobs that all go to one device."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from orchestrator.domain.one_device import Chooser, Need, place_of
from orchestrator.domain.placement import Fleet, KnownWorker
from orchestrator.domain.windows import Windows
from shared.capabilities import worker_queue
from shared.recipes import Requirements

CPU, GPU = Need("cpu.onnx", Requirements()), Need("gpu.cuda.onnx", Requirements())
A, B = KnownWorker("worker-a", "a", ("cpu.onnx",)), KnownWorker("worker-b", "b", ("cpu.onnx",))
BOTH = KnownWorker("worker-c", "c", ("cpu.onnx", "gpu.cuda.onnx"))


def chooser(
    *workers: KnownWorker, waiting: dict[str, int] | None = None, running: tuple[str, ...] = (), aimed: tuple[str, ...] = ()
) -> Chooser:
    """Return a chooser for these workers. `waiting` is the number of jobs in each queue."""
    living = Fleet(workers)
    return Chooser(Windows(living, [(queue, 5, count) for queue, count in (waiting or {}).items()]), living, running, aimed)


@pytest.mark.parametrize(
    ("waiting", "running", "aimed", "expected"),
    [
        ({}, (), (), "worker-a"),
        ({}, ("worker-a",), (), "worker-b"),
        ({worker_queue("worker-a"): 1}, (), (), "worker-b"),
        ({}, (), ("worker-a",), "worker-b"),
        ({}, (), ("a",), "worker-b"),  # a lane may name a device by its name
        ({}, ("worker-a", "worker-b"), (), None),
        ({"cpu.onnx": 1}, (), (), None),  # one of them takes the job in a moment
        ({"cpu.onnx": 2}, ("worker-a",), (), "worker-b"),  # there is more work than the idle worker takes, so both have work waiting
        ({}, ("worker-a",), ("b", "b"), None),  # b has work waiting, but a has not
        ({}, ("worker-a", "worker-b"), ("a", "b", "b"), "worker-a"),
    ],
)
def test_the_free_device_is_chosen_or_else_the_first_that_is_free_or_the_one_with_the_least_work(
    waiting: dict[str, int], running: tuple[str, ...], aimed: tuple[str, ...], expected: str | None
) -> None:
    worker, reason = chooser(A, B, waiting=waiting, running=running, aimed=aimed).choose([CPU])
    assert (worker.id if worker else None) == expected
    assert bool(reason) == (expected is None)


def test_a_choice_counts_for_the_next_one() -> None:
    made = chooser(A, B)
    assert [worker.id if worker else None for worker, _ in (made.choose([CPU]) for _ in range(3))] == ["worker-a", "worker-b", "worker-a"]


def test_a_device_that_can_run_more_of_the_campaign_is_preferred_even_if_it_is_at_work() -> None:
    assert chooser(A, BOTH).choose([CPU, GPU])[0] == BOTH
    assert chooser(A, BOTH, running=("worker-c",)).choose([CPU, GPU]) == (None, "waiting until c is free, which takes all of these jobs")
    assert chooser(A, BOTH).choose([CPU])[0] == A


def test_nobody_is_chosen_where_nobody_can() -> None:
    assert chooser(A).choose([GPU, CPU]) == (None, "")


def test_only_the_id_leads_to_the_chosen_device() -> None:
    impostor = KnownWorker("worker-z", "worker-a", ("cpu.onnx",))
    assert place_of(CPU, "worker-a", Fleet([impostor])) is None
    found = place_of(CPU, "worker-a", Fleet([impostor, A]))
    assert found is not None
    assert found.queue == "worker.worker-a"


WORKERS = st.lists(st.sets(st.sampled_from(["cpu.onnx", "gpu.cuda.onnx"])), min_size=1, max_size=5)


@given(WORKERS, st.data())
def test_jobs_wait_only_if_a_device_will_soon_be_free(capabilities: list[set[str]], data: st.DataObject) -> None:
    """If the jobs wait, then they wait for a device that has no other work after its present job."""
    workers = [KnownWorker(f"worker-{number}", f"{number}", tuple(sorted(some))) for number, some in enumerate(capabilities)]
    names = [worker.id for worker in workers]
    queues = [*map(worker_queue, names), "cpu.onnx", "gpu.cuda.onnx"]
    waiting = data.draw(st.dictionaries(st.sampled_from(queues), st.integers(1, 3)))
    running = data.draw(st.sets(st.sampled_from(names)))
    aimed = data.draw(st.lists(st.sampled_from(names)))
    needs = data.draw(st.permutations([CPU, GPU]))
    worker, reason = chooser(*workers, waiting=waiting, running=tuple(running), aimed=tuple(aimed)).choose(needs)
    able = [one for one in workers if needs[0].compute_unit in one.capabilities]
    if worker is not None:
        assert worker in able
    elif able:
        assert reason
        quiet = [one.id for one in able if one.id not in aimed and worker_queue(one.id) not in waiting]
        assert any(name in running or any(waiting.get(c) for c in capabilities[names.index(name)]) for name in quiet)
    else:
        assert not reason
