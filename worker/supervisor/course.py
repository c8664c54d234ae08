"""Keeps account of the processes of one attempt: which have run, which one is next, and how much of the work is done."""

from __future__ import annotations

from functools import cached_property

from shared.series import Record
from shared.workloads import Workload
from worker.kinds.base import Measure, Repeat
from worker.kinds.registry import resolve
from worker.measured.request import share_done
from worker.supervisor.repeats import most_repeats, reason_to_stop

MEASURING = "measuring"
# The estimated progress of a repeat when a phase begins. The real durations are not known in advance.
BEHIND = {"starting": 0.0, "loading": 0.05, "preparing inputs": 0.1, "warming up": 0.15, MEASURING: 0.3}


class Course:
    """Holds what the processes have measured so far. The repeats come first, then the loads.

    Attributes:
        because: Why no further repeat is run; see `worker.supervisor.repeats.reason_to_stop`. None while repeats are run.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.repeats: list[Repeat] = []
        self.loads: list[Record] = []
        self.because: str | None = None
        self._behind = 0.0

    @cached_property
    def kind(self) -> Measure:
        return resolve(self._workload.kind)()

    @property
    def most_repeats(self) -> int:
        return most_repeats(self._workload)

    @property
    def further_loads(self) -> int:
        return self.kind.further_loads(self._workload)

    @property
    def is_over(self) -> bool:
        return self.because is not None and len(self.loads) >= self.further_loads

    @property
    def next_process(self) -> str:
        """Return which process is next, such as `repeat 2 of 6`."""
        if self.because is None:
            return f"repeat {len(self.repeats) + 1} of {self.most_repeats}"
        return f"load {len(self.loads) + 1} of {self.further_loads}"

    def add(self, repeat: Repeat, spent_s: float) -> None:
        """Add a repeat, and find out whether it was the last one.

        Args:
            spent_s: How long the attempt has measured, in seconds.
        """
        self.repeats.append(repeat)
        self.because = reason_to_stop(self._workload, self.kind, self.repeats, spent_s)

    @property
    def progress(self) -> float:
        """Return which fraction of the attempt is done, counted in processes."""
        if not self.repeats:
            return 0.0  # also before it is known whether this worker knows the job's kind
        index = len(self.repeats) if self.because is None else len(self.loads)
        return self.progress_at(index, "starting", load_only=self.because is not None)

    def progress_at(self, index: int, phase: str, *, load_only: bool) -> float:
        """Return which fraction of the attempt is done when a process is in this phase."""
        before = len(self.repeats) + index if load_only else index
        repeats = len(self.repeats) if load_only else self.most_repeats
        name = phase.partition(" (")[0]
        self._behind = BEHIND.get(name, self._behind)  # a phase that only one kind knows does not move it
        if name == MEASURING:
            self._behind += (1 - self._behind) * share_done(phase)
        return (before + self._behind) / (repeats + self.further_loads)
