"""Tests how free places in the queues are distributed in one turn of dispatch."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.placement import Fleet, KnownWorker, Place
from orchestrator.domain.windows import PRIVATE_WINDOW, Route, Windows, deal

ROCM = KnownWorker("worker-b", "b", ("gpu.rocm.onnx", "cpu.onnx"))
ROCM_TOO = KnownWorker("worker-c", "c", ("gpu.rocm.onnx",))
CUDA = KnownWorker("worker-a", "a", ("gpu.cuda.onnx",))
ON_ROCM, ON_CUDA = Place("gpu.rocm.onnx", "gpu.rocm.onnx"), Place("gpu.cuda.onnx", "gpu.cuda.onnx")


def test_the_window_grows_with_the_workers_and_a_private_one_is_small() -> None:
    assert Windows(Fleet([ROCM]), []).room(ON_ROCM, 5) == 68
    assert Windows(Fleet([ROCM, ROCM_TOO]), [("gpu.rocm.onnx", 5, 70)]).room(ON_ROCM, 5) == 2
    assert Windows(Fleet([ROCM]), [("gpu.rocm.onnx", 5, 200)]).room(ON_ROCM, 5) == 0
    assert Windows(Fleet([ROCM]), []).room(Place("worker.worker-b", "cpu.onnx"), 5) == PRIVATE_WINDOW


def test_less_urgent_jobs_take_no_room_from_urgent_ones() -> None:
    windows = Windows(Fleet([ROCM]), [("gpu.rocm.onnx", 1, 68)])
    assert (windows.room(ON_ROCM, 1), windows.room(ON_ROCM, 2)) == (0, 68)


def test_a_job_goes_where_the_least_work_waits_for_each_worker() -> None:
    windows = Windows(Fleet([CUDA, ROCM, ROCM_TOO]), [("gpu.cuda.onnx", 5, 3), ("gpu.rocm.onnx", 5, 4)])
    assert Route([ON_CUDA, ON_ROCM], 5, windows).next() == ON_ROCM, "4 for two workers is less than 3 for one"


@given(workers=st.integers(1, 30), jobs=st.integers(0, 80), routes=st.integers(1, 3))
def test_jobs_for_any_of_some_devices_fill_every_device_evenly_in_one_turn(workers: int, jobs: int, routes: int) -> None:
    """This holds for any number of lanes that share the devices, because each placement counts for all of them at once."""
    windows = Windows(Fleet([KnownWorker(f"w{number}", "pi", ("cpu.onnx",)) for number in range(workers)]), [])
    places = [Place(f"worker.w{number}", "cpu.onnx") for number in range(workers)]
    ways = [Route(places, 5, windows) for _ in range(routes)]
    got: Counter[Place] = Counter()
    for number in range(jobs):
        way = ways[number % routes]
        if (place := way.next()) is not None:
            way.add(place)
            got[place] += 1
    assert got.total() == min(jobs, PRIVATE_WINDOW * workers)
    counts = [got[place] for place in places]
    assert max(counts) - min(counts) <= 1


@given(in_flight=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=6), seats=st.integers(0, 100))
def test_seats_are_dealt_so_that_nobody_who_could_have_more_has_less(in_flight: list[tuple[int, int]], seats: int) -> None:
    given_to: Counter[str] = Counter()

    def give(name: str) -> bool:
        if given_to.total() == seats or given_to[name] == in_flight[int(name)][1]:
            return False
        given_to[name] += 1
        return True

    sent = deal({str(index): flying for index, (flying, _) in enumerate(in_flight)}, give)
    assert sent == given_to.total() == min(seats, sum(ready for _, ready in in_flight))
    totals = [flying + given_to[str(index)] for index, (flying, _) in enumerate(in_flight)]
    for index, (_, ready) in enumerate(in_flight):
        if given_to[str(index)] < ready:
            assert all(totals[index] >= total - 1 for other, total in enumerate(totals) if given_to[str(other)])
