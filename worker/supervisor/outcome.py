"""How an attempt ended, as the supervisor hands it to the agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from shared.measurements import Noise, Summary

Status = Literal["complete", "failed", "cancelled", "handed_back"]
Why = Literal["cancelled", "handed_back"]


@dataclass(frozen=True)
class Outcome:
    """Only a complete one has a summary and samples; a failed one says why in `error`, and `error_kind` can be counted."""

    status: Status
    error: str = ""
    error_kind: str = ""
    model_name: str = ""
    model_size: int | None = None
    model_sha256: str | None = None
    summary: Summary | None = None
    noise: Noise | None = None
    runtime: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    samples_npz: bytes | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
