"""Computes the figures of one phase or of several from the records of their requests. Everything here is pure.

The records are read in blocks, and what is counted is counted in one pass over them: `Measured.tally`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from shared.request_records import OPEN
from worker.load.records import RecordFile, blocks_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NS = 1e9


@dataclass
class Tally:
    """Counts the requests of one phase.

    Attributes:
        measured: Those that belong to the measurement: they were due in its window.
        failed: Those of them that failed.
        completed: Those that succeeded and ended inside the window, whenever they were sent.
        moved: The bytes of the completed ones.
        due: Those that the schedule asked for inside the window.
        sent: Those that were sent inside the window.
        last_end: When the last measured one ended, in nanoseconds since the window began. 0 if none ended.
        warm_up: Those that were due before the window.
        drained: The measured ones that ended after the window.
        never_sent: Those that were due in the window, and were not sent before its end.
        cut: Those that were in flight when the phase was ended early. They are not measured: nobody knows how they would have ended.
        kinds: How often each failure happened, by its place in `shared.request_records.FAILURES`.
        statuses: How often failed requests had each HTTP status.
        operations: How many measured requests each operation has, and how many of these failed, by its place.
    """

    measured: int = 0
    failed: int = 0
    completed: int = 0
    moved: int = 0
    due: int = 0
    sent: int = 0
    last_end: float = 0.0
    warm_up: int = 0
    drained: int = 0
    never_sent: int = 0
    cut: int = 0
    kinds: Counter[int] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    operations: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """Holds the records of one phase of one repeat, of every client process, in nanoseconds since the window began.

    Attributes:
        records: In an array, or in files.
        duration_s: How long the window is, if the recipe says so, or if the phase was ended early.
        open_loop: Whether requests had a schedule.
        asked: How many requests the schedule asked for in the window, if the records do not tell it, because a client process died.
        to_last_answer: Whether a window without a `duration_s` ends with the last answer, so that every request is inside of it. This is so
            for a trace, which says itself when its last request is sent.
    """

    phase: str
    records: NDArray[np.void] | tuple[RecordFile, ...]
    duration_s: float | None
    open_loop: bool
    asked: int | None = None
    to_last_answer: bool = False

    def blocks(self) -> Iterator[NDArray[np.void]]:
        return blocks_of(self.records)

    def counted(self, block: NDArray[np.void]) -> NDArray[np.bool_]:
        """Return which requests belong to the measurement: those that were due in the window. Warm-up was due before it."""
        due = block["scheduled"]
        mask: NDArray[np.bool_] = due >= 0
        if self.duration_s is not None:
            mask &= due < self.duration_s * NS
        return mask & ~is_cut(block)

    def window_s(self) -> float:
        """Return the length of the window in which answers are counted for the rate.

        It is what the recipe says. With a number of requests, it ends when the last of them was sent: afterwards fewer and fewer are in
        flight, and one slow answer would stretch it. If more than half of the requests were still in flight then, it ends with the last
        answer. A trace ends with its last answer, too.
        """
        return self._window_s

    @cached_property
    def _window_s(self) -> float:
        import numpy as np  # imported here, because the guard must not hold it in memory

        if self.duration_s is not None:
            return self.duration_s
        last_sent, last_end, total, within = 0.0, -1.0, 0, 0
        for block in self.blocks():
            mask = self.counted(block)
            if mask.any():
                last_sent = max(last_sent, float(sent_of(block)[mask].max()))
                ended = ended_of(block)[mask]
                total += len(ended)
                if not np.isnan(ended).all():
                    last_end = max(last_end, float(np.nanmax(ended)))
        if not total:
            return 0.0
        if self.to_last_answer:
            return max(last_sent, last_end) / NS
        for block in self.blocks():
            within += int((ended_of(block)[self.counted(block)] <= last_sent).sum())
        if within * 2 < total and last_end >= 0:
            return last_end / NS
        return last_sent / NS

    @cached_property
    def tally(self) -> Tally:
        """Count all requests, in one pass over the records."""
        import numpy as np  # imported here, because the guard must not hold it in memory

        found, window = Tally(), self.window_s() * NS
        for block in self.blocks():
            sent, ended, failure = sent_of(block), ended_of(block), block["failure"]
            counted, failed = self.counted(block), failure > 0
            unknown = np.isnan(ended)
            never = (failure == OPEN) & unknown
            completed = ~failed & (ended >= 0) & (ended <= window)
            wrong = counted & failed
            found.measured += int(counted.sum())
            found.failed += int(wrong.sum())
            found.completed += int(completed.sum())
            found.moved += int(block["bytes"][completed].sum(dtype="i8"))
            found.due += int((counted & (block["scheduled"] < window)).sum())
            found.sent += int(((sent >= 0) & (sent < window) & ~never).sum())
            found.warm_up += int((block["scheduled"] < 0).sum())
            found.drained += int((counted & (ended > window)).sum())
            found.never_sent += int((counted & unknown).sum())
            found.cut += int(is_cut(block).sum())
            if (counted & ~unknown).any():
                found.last_end = max(found.last_end, float(np.nanmax(ended[counted])))
            found.kinds.update(_counts(failure[wrong]))
            found.statuses.update({status: count for status, count in _counts(block["status"][wrong]).items() if status})
            wrong_ones = _counts(block["operation"][wrong])
            for operation, count in _counts(block["operation"][counted]).items():
                total, bad = found.operations.get(operation, (0, 0))
                found.operations[operation] = (total + count, bad + wrong_ones.get(operation, 0))
        return found


def sent_of(block: NDArray[np.void]) -> NDArray[np.float64]:
    """Return when requests were sent."""
    return block["scheduled"] + block["delay"].astype(float)  # type: ignore[no-any-return]


def ended_of(block: NDArray[np.void]) -> NDArray[np.float64]:
    """Return when requests ended; NaN if they never did."""
    return sent_of(block) + block["last"]  # type: ignore[no-any-return]


def is_cut(block: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return which requests were sent and still in flight when their phase was ended early."""
    last = block["last"]
    return (block["failure"] == OPEN) & (last == last)  # type: ignore[no-any-return]  # the second part: it is not NaN


def _counts(values: NDArray[np.integer]) -> dict[int, int]:
    import numpy as np  # imported here, because the guard must not hold it in memory

    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def rate(phases: Sequence[Measured]) -> float:
    """Return the requests that succeeded in the windows, per second of them."""
    return _per_second(sum(phase.tally.completed for phase in phases), phases)


def bytes_per_s(phases: Sequence[Measured]) -> float:
    return _per_second(sum(phase.tally.moved for phase in phases), phases)


def rate_asked(phases: Sequence[Measured]) -> float | None:
    """Return how many requests per second were due in the windows; None for closed loops."""
    if not all(phase.open_loop for phase in phases):
        return None
    due = sum(phase.tally.due if phase.asked is None else phase.asked for phase in phases)
    return _per_second(due, phases) if sum(phase.window_s() for phase in phases) > 0 else None


def rate_achieved(phases: Sequence[Measured]) -> float:
    """Return how many requests per second were sent in the windows. A request that was due and never sent is not counted."""
    return _per_second(sum(phase.tally.sent for phase in phases), phases)


def duration_s(phases: Sequence[Measured]) -> float:
    """Return how long the phases took, from their begin to their last answer."""
    return sum(phase.tally.last_end for phase in phases) / NS


def _per_second(count: int, phases: Sequence[Measured]) -> float:
    windows = sum(phase.window_s() for phase in phases)
    return count / windows if windows > 0 else 0.0
