"""Computes the figures of one phase or of several from the records of their requests. Everything here is pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from worker.load.tokens import Tokens

NS = 1e9


@dataclass(frozen=True)
class Measured:
    """Holds the records of one phase of one repeat, of every client process, in nanoseconds since the window began.

    Attributes:
        duration_s: How long the window is, if the recipe says so.
        open_loop: Whether requests had a schedule.
        tokens: What a language model wrote for each of the requests; None for other services.
    """

    phase: str
    records: NDArray[np.void]
    duration_s: float | None
    open_loop: bool
    tokens: Tokens | None = None

    def sent(self) -> NDArray[np.float64]:
        return self.records["scheduled"] + self.records["delay"].astype(float)  # type: ignore[no-any-return]

    def ended(self) -> NDArray[np.float64]:
        return self.sent() + self.records["last"]  # type: ignore[no-any-return]

    def counted(self) -> NDArray[np.bool_]:
        """Return which requests belong to the measurement: those that were due in the window. Warm-up was due before it."""
        due = self.records["scheduled"]
        mask = due >= 0
        if self.duration_s is not None:
            mask &= due < self.duration_s * NS
        return mask

    def window_s(self) -> float:
        """Return the length of the window in which answers are counted for the rate.

        It is what the recipe says. With a number of requests, it ends when the last of them was sent: afterwards fewer and fewer are in
        flight, and one slow answer would stretch it. If more than half of the requests were still in flight then, it ends with the last
        answer.
        """
        import numpy as np

        if self.duration_s is not None:
            return self.duration_s
        mask = self.counted()
        if not mask.any():
            return 0.0
        last_sent = float(self.sent()[mask].max())
        ended = self.ended()[mask]
        within = int((ended <= last_sent).sum())
        if within * 2 < mask.sum():
            known = ended[~np.isnan(ended)]
            return float(known.max()) / NS if len(known) else last_sent / NS
        return last_sent / NS

    def completed(self) -> NDArray[np.bool_]:
        """Return which requests succeeded, and ended inside the window."""
        ended = self.ended()
        return (self.records["failure"] == 0) & (ended >= 0) & (ended <= self.window_s() * NS)  # type: ignore[no-any-return]


def rate(phases: Sequence[Measured]) -> float:
    """Return the requests that succeeded in the windows, per second of them."""
    windows = sum(phase.window_s() for phase in phases)
    return sum(int(phase.completed().sum()) for phase in phases) / windows if windows > 0 else 0.0


def bytes_per_s(phases: Sequence[Measured]) -> float:
    windows = sum(phase.window_s() for phase in phases)
    moved = sum(int(phase.records["bytes"][phase.completed()].sum(dtype="i8")) for phase in phases)
    return moved / windows if windows > 0 else 0.0


def rate_asked(phases: Sequence[Measured]) -> float | None:
    """Return how many requests per second were due in the windows; None for closed loops."""
    if not all(phase.open_loop for phase in phases):
        return None
    windows = sum(phase.window_s() for phase in phases)
    due = sum(int((phase.counted() & (phase.records["scheduled"] < phase.window_s() * NS)).sum()) for phase in phases)
    return due / windows if windows > 0 else None


def rate_achieved(phases: Sequence[Measured]) -> float:
    """Return how many requests per second were sent in the windows. A request that was due and never sent is not counted."""
    from shared.request_records import OPEN

    windows = sum(phase.window_s() for phase in phases)
    total = 0
    for phase in phases:
        sent = phase.sent()
        never = (phase.records["failure"] == OPEN) & (phase.records["last"] != phase.records["last"])
        total += int(((sent >= 0) & (sent < phase.window_s() * NS) & ~never).sum())
    return total / windows if windows > 0 else 0.0


def duration_s(phases: Sequence[Measured]) -> float:
    """Return how long the phases took, from their begin to their last answer."""
    import numpy as np

    total = 0.0
    for phase in phases:
        ended = phase.ended()[phase.counted()]
        ended = ended[~np.isnan(ended)]
        total += float(ended.max()) / NS if len(ended) else 0.0
    return total


def latencies_ms(phases: Sequence[Measured], *, of: str = "sent", failed: bool = False) -> NDArray[np.float64]:
    """Return the latencies of the measured requests, those of failed ones apart, in the order in which they ended.

    Args:
        of: `sent`: from sending to the last byte; `scheduled`: from when it was due; `first`: from sending to the first byte; `delay`: from
            when it was due to sending.
    """
    import numpy as np

    found = []
    for phase in phases:
        chosen = phase.records[phase.counted() & ((phase.records["failure"] > 0) == failed)]
        if of == "scheduled":
            values = chosen["delay"].astype(float) + chosen["last"]
        else:
            values = chosen[{"sent": "last", "first": "first", "delay": "delay"}[of]].astype(float)
        found.append(values[~np.isnan(values)] / 1e6)
    return np.concatenate(found) if found else np.zeros(0)
