"""Runs the same kernels in several threads that start each of them together, and measures the time from the first start to the last end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Barrier, BrokenBarrierError, Thread
from time import perf_counter_ns

from worker.hardware_tests.base import Share

Kernel = Callable[[], object]
MOST_ROUNDS = 1_000


class Team:
    """Runs rounds. In each round, every kernel runs once in every thread.

    Threads are enough, because numpy releases the interpreter's lock during the whole call on a large array.
    """

    def __init__(self, threads: int, prepare: Callable[[int], Mapping[str, Kernel]]) -> None:
        """Create a team.

        Args:
            prepare: Returns the kernels of the thread with this number. Each thread calls it itself, so that a thread is the first to
                touch the memory that it uses: the system then places this memory near to the thread's processor.
        """
        self._threads, self._prepare = threads, prepare
        self._error: BaseException | None = None

    def run(self, share: Share, least_rounds: int) -> dict[str, list[float]]:
        """Return the seconds of each kernel in each round. Rounds follow until the share is over, and there are at least `least_rounds`."""
        spans: list[list[dict[str, tuple[int, int]]]] = [[] for _ in range(self._threads)]
        rounds_begun = 0
        goes_on = True

        def decide() -> None:
            """Decide for all threads whether one more round follows. One thread calls it while the others wait."""
            nonlocal rounds_begun, goes_on
            goes_on = rounds_begun < least_rounds or (not share.is_over() and rounds_begun < MOST_ROUNDS)
            rounds_begun += 1

        gate = Barrier(self._threads, action=decide)
        start = Barrier(self._threads)

        def work(number: int) -> None:
            try:
                kernels = self._prepare(number)
                while True:
                    gate.wait()
                    if not goes_on:
                        return
                    spans[number].append({name: _timed(kernel, start) for name, kernel in kernels.items()})
            except BrokenBarrierError:
                return  # another thread has failed, and its error is the one that counts
            except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
                self._error = error
                gate.abort()
                start.abort()

        workers = [Thread(target=work, args=(number,), name=f"team-{number}") for number in range(self._threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if self._error is not None:
            raise self._error
        return {name: [_together(member[index][name] for member in spans) for index in range(len(spans[0]))] for name in spans[0][0]}


def _timed(kernel: Kernel, start: Barrier) -> tuple[int, int]:
    start.wait()
    begin = perf_counter_ns()
    kernel()
    return begin, perf_counter_ns()


def _together(spans: Iterable[tuple[int, int]]) -> float:
    begins, ends = zip(*spans, strict=True)
    return float(max(ends) - min(begins)) / 1e9
