"""Describes how an attempt ended. The supervisor returns it to the agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from shared import figures
from shared.errors import JobCancelled
from shared.measurements import Noise, Summary
from worker.job_log import HANDED_BACK

Status = Literal["complete", "failed", "cancelled", "handed_back"]
Why = Literal["cancelled", "handed_back"]


@dataclass(frozen=True)
class Outcome:
    """Holds the result of one attempt.

    Only a complete attempt has `samples_npz`, and either `summary` (an inference) or `figures` (every other kind of work). A failed one
    gives the reason in `error`, and its category in `error_kind`. Both have `telemetry_npz` if something was sampled beside them.
    """

    status: Status
    error: str = ""
    error_kind: str = ""
    model_name: str = ""
    model_size: int | None = None
    model_sha256: str | None = None
    summary: Summary | None = None
    figures: figures.Outcome | None = None
    noise: Noise | None = None
    runtime: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    samples_npz: bytes | None = None
    files: Mapping[str, bytes | Path] = field(default_factory=dict)  # further artifacts, by their names; whoever takes a `Path` removes it
    timings_s: dict[str, float] = field(default_factory=dict)
    telemetry_npz: bytes | None = None


class Stopped(JobCancelled):
    """Raised inside an attempt that must end without a result, for example because `Supervisor.stop` was called for it."""

    def __init__(self, why: Why, reason: str = "") -> None:
        """Say how the attempt ends.

        Args:
            reason: Why it is handed back, unless the worker is stopping.
        """
        super().__init__("cancelled" if why == "cancelled" else HANDED_BACK)
        self.why, self.reason = why, reason
