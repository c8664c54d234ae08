"""Makes the result of one attempt: its figures, its raw data, and its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared import figures
from shared.errors import JobError
from shared.protocol.messages import Assignment
from worker.hardware_tests.last import read as read_last
from worker.job_log import JobLog
from worker.kinds.base import Repeat
from worker.supervisor.course import Course
from worker.supervisor.inputs import InputsOfJob
from worker.supervisor.known_device import remembered
from worker.supervisor.samples import pack
from worker.supervisor.telemetry import Telemetry


class ResultOfJob:
    """Computes the result from the records of the processes.

    Attributes:
        runtime: What is known of the runtime and of everything that took part, so far.
        software: The versions of the software that has measured, by its name.
    """

    def __init__(
        self,
        assignment: Assignment,
        course: Course,
        inputs: InputsOfJob,
        *,
        telemetry: Telemetry,
        job_log: JobLog,
        cache_dir: Path,
        folder: Path,
    ) -> None:
        self._workload, self._course, self._inputs = assignment.workload, course, inputs
        self._telemetry, self._log, self._cache_dir = telemetry, job_log, cache_dir
        self._file = str(folder / f"{assignment.job_id}.{assignment.attempt}.")  # how the paths of large files begin
        self.runtime: dict[str, Any] = {}
        self.software: dict[str, str] = {}

    @property
    def threads(self) -> int | None:
        """Return how many threads the runtime reports for the computation of one operator, or None if it does not report it."""
        threads = self.runtime.get("threads")
        count = threads.get("intra_op") if isinstance(threads, Mapping) else threads
        return count if isinstance(count, int) and count > 0 else None

    def learn(self, repeat: Repeat) -> None:
        """Take the facts of the first repeat."""
        self.runtime, self.software = repeat.record.facts["runtime"], repeat.record.facts["software"]

    def add_service(self, facts: Mapping[str, Any]) -> None:
        """Add what is known of the service. Does nothing if there is none."""
        if facts:
            self.runtime = self.runtime | {"service": dict(facts)}

    def whole(self, interrupted: Sequence[Repeat]) -> dict[str, Any]:
        """Return the figures and the raw data of an attempt that has run to its end, as fields of `worker.supervisor.outcome.Outcome`.

        Args:
            interrupted: The processes that were ended early and measured again. They enter no figure of the job.
        """
        ended_early = [self._figures_of(one) for one in interrupted]
        measured = self._summarised(self._course.repeats, self._course.because or "")
        if ended_early:
            measured["figures"] = _with_detail(measured["figures"], {"interrupted": ended_early})
        return measured

    def partial(self, repeats: Sequence[Repeat]) -> dict[str, Any]:
        """Return what `whole` does, of an attempt that an error has ended, marked as partial. Empty if it could not be kept.

        Args:
            repeats: What was measured, with the processes that were ended early.
        """
        why = f"{len(self._course.repeats)} of {self._course.most_repeats} repeats were measured to their end"
        try:
            kept = self._summarised(repeats, "")
        except JobError as failure:  # such as a full disk; the job's own error is what is reported
            self._log.add("error", "infrastructure", f"what was measured could not be kept: {failure.detail}")
            return {}
        kept["figures"] = _with_detail(kept["figures"], {"partial": True, "partial_because": why})
        return kept

    def _figures_of(self, interrupted: Repeat) -> dict[str, float | None]:
        outcome = self._course.kind.derive(self._workload, [interrupted], [], "").outcome
        return {} if outcome is None else {figure.name: figure.value for figure in outcome.figures}

    def _summarised(self, repeats: Sequence[Repeat], because: str) -> dict[str, Any]:
        kind, loads = self._course.kind, self._course.loads
        derived = kind.derive(self._workload, repeats, loads, because)
        self._log.add("info", "benchmark", derived.said)
        if derived.of_device is not None:
            derived = remembered(derived, derived.of_device, self._cache_dir, self._log)
        if derived.against_device is not None:
            derived = derived.against_device(read_last(self._cache_dir))
        for warning in derived.warnings:
            self._log.add("warning", "benchmark", warning)
        if derived.warnings:
            self.runtime = self.runtime | {"warnings": [*self.runtime.get("warnings", []), *derived.warnings]}
        samples = pack([repeat.record for repeat in repeats], loads, kind.loading)
        derived, facts = self._telemetry.added_to(derived, repeats, kind.loading)
        self.runtime = {**self.runtime, **facts, **self._inputs.facts(self.runtime.get("warnings", []))}
        return {"summary": derived.summary, "figures": derived.outcome, "samples_npz": samples, "files": self._moved(derived.files)}

    def _moved(self, files: Mapping[str, bytes | Path]) -> dict[str, bytes | Path]:
        """Move large files out of the folder of the records, which is removed with the attempt. Whoever sends them removes them."""
        return {name: content.replace(self._file + name) if isinstance(content, Path) else content for name, content in files.items()}


def _with_detail(outcome: figures.Outcome, more: Mapping[str, Any]) -> figures.Outcome:
    return outcome.model_copy(update={"detail": {**outcome.detail, **more}})
