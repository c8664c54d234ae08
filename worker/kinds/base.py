"""Defines the interface that every kind of work implements at the worker.

This module imports neither pydantic nor numpy at run time. The guard imports it, and the memory of the guard is the baseline of each
measured process (pydantic alone takes 16 MB). The same holds for the module of every kind: what only `derive` needs is imported in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.figures import Outcome
    from shared.measurements import Summary
    from shared.series import Record
    from shared.workloads import Workload
    from worker.hardware_tests.last import LastFigures
    from worker.measured.request import Announce, RunRequest


@dataclass(frozen=True)
class Repeat:
    """Holds what one fresh process recorded. `started_at` is when it was started, by the device's clock, in seconds since 1970."""

    record: Record
    started_at: float


@dataclass(frozen=True)
class Derived:
    """Holds what is computed from the records of a job.

    Either `summary` (an inference) or `outcome` (every other kind) is set. `said` is one line for the job's log. `of_device` is what the
    worker keeps about its own device until the next such job. `against_device` compares what was computed with what this worker has kept
    about its device, and returns it again. `tokens_per_unit` is how many tokens one unit of work writes, 0 for work without tokens. `files`
    go to the orchestrator beside the result, by their names. A large one is a file in the folder of the records, which is moved away from
    there. `warnings` are shown beside the figures in the reports.
    """

    said: str
    summary: Summary | None = None
    outcome: Outcome | None = None
    of_device: LastFigures | None = None
    against_device: Callable[[Sequence[LastFigures]], Derived] | None = field(default=None, compare=False)
    tokens_per_unit: float = 0.0
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Measure(Protocol):
    """Measures one kind of work.

    `run` is called in the measured process, on an object of its own. The worker that supervises it calls the other methods. They keep
    no state: everything that they know is in the records, so that every figure can be derived again.
    """

    stops_on: str
    """What `stop_value` returns, as the reports call it, such as `the median`."""

    loading: str
    """The series that holds how long making the work ready took. A process with `load_only` records only this one. It may be empty."""

    def run(self, request: RunRequest, announce: Announce) -> Record:
        """Make the work ready and then, unless `request.load_only` is set, warm up and measure.

        The supervisor knows the phases `loading`, `preparing inputs`, `warming up` and `measuring`: it watches the device's condition
        during the last two, and estimates the progress from all of them. A phase may have any other name.

        The record keeps warm-ups in a series of their own, `warmup`. Its facts may hold `runtime` (what the runtime reports about
        itself; its `threads` are what the noise is judged by) and `software` (the versions of the libraries that were used). If they hold
        `incomplete`, what was asked for could not be measured to its end: the job fails with this reason, and keeps what was measured.

        The engine, or whatever else was measured, must stay an attribute of this object, so that it is freed after the record is written.

        Raises:
            JobError: The work cannot be done, for a reason that the user can read.
        """

    def further_loads(self, workload: Workload) -> int:
        """Return how many further processes run after the repeats, with `load_only` set."""

    def stop_value(self, record: Record) -> float:
        """Return the value of one repeat that a stop rule looks at."""

    def derive(self, workload: Workload, repeats: Sequence[Repeat], loads: Sequence[Record], stopped_because: str) -> Derived:
        """Compute what the result says.

        Args:
            loads: The records of the processes with `load_only`.
            stopped_because: Why no further repeat was run. Empty without a stop rule.
        """
