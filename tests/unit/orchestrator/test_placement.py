"""Which queue a job goes to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.placement import PRIVATE_WINDOW, Fleet, KnownWorker, Place, choose, room, share
from shared.recipes import Requirements

ANY = Requirements()
CUDA = KnownWorker("worker-a", "a", ("gpu.cuda.onnx",), gpu_memory_mb=80_000)
ROCM = KnownWorker("worker-b", "b", ("gpu.rocm.onnx", "cpu.onnx"))
ROCM_TOO = KnownWorker("worker-c", "c", ("gpu.rocm.onnx",))


def test_a_capability_is_its_own_queue() -> None:
    assert choose("cpu.onnx", None, ANY, Fleet([ROCM]), {}) == (Place("cpu.onnx", "cpu.onnx"), "")


def test_a_label_goes_where_the_least_work_waits_per_worker() -> None:
    waiting = {"gpu.cuda.onnx": 3, "gpu.rocm.onnx": 4}
    place, _ = choose("GPU (ONNX)", None, ANY, Fleet([CUDA, ROCM, ROCM_TOO]), waiting)
    assert place == Place("gpu.rocm.onnx", "gpu.rocm.onnx"), "4 for two workers is less than 3 for one"


def test_with_nobody_alive_the_job_waits_and_says_for_what() -> None:
    assert choose("GPU (ONNX)", None, ANY, Fleet([]), {}) == (
        None,
        "waiting for a worker with gpu.cuda.onnx, gpu.rocm.onnx or gpu.directml.onnx",
    )


def test_requirements_choose_a_device_and_its_private_queue() -> None:
    big = Requirements(min_gpu_memory_mb=40_000)
    assert choose("GPU (ONNX)", None, big, Fleet([CUDA, ROCM]), {}) == (Place("worker.worker-a", "gpu.cuda.onnx"), "")
    place, reason = choose("GPU (ONNX)", None, big, Fleet([ROCM]), {})
    assert place is None
    assert "'min_gpu_memory_mb': 40000" in reason


def test_a_device_is_named_by_its_id_or_its_name() -> None:
    assert choose("cpu.onnx", "b", ANY, Fleet([CUDA, ROCM]), {})[0] == Place("worker.worker-b", "cpu.onnx")
    assert choose("cpu.onnx", "worker-b", ANY, Fleet([CUDA, ROCM]), {})[0] == Place("worker.worker-b", "cpu.onnx")


def test_the_window_grows_with_the_workers_and_a_private_one_is_small() -> None:
    place = Place("gpu.rocm.onnx", "gpu.rocm.onnx")
    assert room(place, Fleet([ROCM]), 0) == 68
    assert room(place, Fleet([ROCM, ROCM_TOO]), 70) == 2
    assert room(place, Fleet([ROCM]), 200) == 0
    assert room(Place("worker.worker-b", "cpu.onnx"), Fleet([ROCM]), 0) == PRIVATE_WINDOW


@given(
    in_flight=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=6),
    seats=st.integers(0, 100),
)
def test_seats_are_dealt_so_that_nobody_who_could_have_more_has_less(in_flight: list[tuple[int, int]], seats: int) -> None:
    candidates = [(flying, [f"{index}-{number}" for number in range(ready)]) for index, (flying, ready) in enumerate(in_flight)]
    taken = share(candidates, seats)
    assert len(taken) == len(set(taken)) == min(seats, sum(ready for _, ready in in_flight))
    given_to = [sum(name.startswith(f"{index}-") for name in taken) for index in range(len(candidates))]
    totals = [flying + got for (flying, _), got in zip(in_flight, given_to, strict=True)]
    for index, (_, ready) in enumerate(in_flight):
        if given_to[index] < ready:
            assert all(totals[index] >= total - 1 for other, total in enumerate(totals) if given_to[other])
