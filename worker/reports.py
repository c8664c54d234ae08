"""Creates the messages about an attempt: its result with the files that belong to it, or only its log."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shared.errors import DeviceFailed
from shared.ids import AttemptKey, campaign_of
from shared.masking import masked
from shared.protocol.messages import Artifact, Assignment, AttemptLog, Device, Result
from shared.storable import storable_text

if TYPE_CHECKING:
    from worker.supervisor import Outcome


@dataclass(frozen=True)
class Author:
    """Describes the worker that sends a message."""

    worker_id: str
    incarnation: str
    device: Device
    version: str

    def speaker(self) -> dict[str, str]:
        return {"worker_id": self.worker_id, "incarnation": self.incarnation}


def packed(files: Mapping[str, bytes | Path | None], inline_bytes: int | None) -> tuple[dict[str, Artifact], dict[str, bytes | Path]]:
    """Describe files as artifacts of a message. Small files are sent inside the message, large ones separately.

    Args:
        inline_bytes: The largest size that is sent inside the message. None for any size.

    Returns:
        The artifacts by name, and the content of those that are sent separately. Files that are empty or None are left out.
    """
    artifacts: dict[str, Artifact] = {}
    beside: dict[str, bytes | Path] = {}
    for name, content in files.items():
        if not content:
            continue
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        inline = inline_bytes is None or size <= inline_bytes
        artifacts[name] = _artifact(content.read_bytes() if inline and isinstance(content, Path) else content, inline=inline)
        if not inline:
            beside[name] = content
    return artifacts, beside


def _artifact(content: bytes | Path, *, inline: bool) -> Artifact:
    if isinstance(content, Path):
        with content.open("rb") as file:
            return Artifact(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=content.stat().st_size)
    text = base64.b64encode(content).decode() if inline else None
    return Artifact(sha256=hashlib.sha256(content).hexdigest(), size=len(content), inline=text)


def result_of(
    author: Author,
    assignment: Assignment,
    outcome: Outcome | None,
    failure: str,
    times: tuple[float, float],
    artifacts: dict[str, Artifact],
) -> Result:
    """Create the message that says how an attempt ended.

    Args:
        outcome: What the supervisor returned. None if the supervisor itself failed, with the text `failure`.
        times: When the attempt began and ended, by the worker's clock, in seconds since 1970.

    Raises:
        ValueError: The outcome holds something that no message can carry, such as a timing that is not a number.
    """
    status: Literal["complete", "failed", "cancelled"] = "failed"
    if outcome is not None and outcome.status != "handed_back":
        status = outcome.status
    return Result(
        job_id=assignment.job_id,
        attempt=assignment.attempt,
        **author.speaker(),
        campaign_id=assignment.campaign_id,
        capability=assignment.capability,
        status=status,
        error=storable_text(masked(outcome.error if outcome else failure))[:20_000],
        error_kind=(outcome.error_kind if outcome else DeviceFailed.kind)[:64],
        device=author.device,
        model_name=(outcome.model_name if outcome else "") or assignment.workload.title,
        model_size=outcome.model_size if outcome else None,
        model_sha256=outcome.model_sha256 if outcome else None,
        summary=outcome.summary if outcome else None,
        outcome=outcome.figures if outcome else None,
        noise=outcome.noise if outcome else None,
        runtime=outcome.runtime if outcome else {},
        software={**(outcome.software if outcome else {}), "fleetmark": author.version},
        artifacts=artifacts,
        started_at=times[0],
        ended_at=times[1],
        timings_s=outcome.timings_s if outcome else {},
    )


def unreadable(author: Author, key: AttemptKey, reason: str, now: float) -> Result:
    """Create the result of a job whose assignment this worker cannot read: a failure. `now` is in seconds since 1970."""
    job_id, attempt = key
    return Result(
        job_id=job_id,
        attempt=attempt,
        **author.speaker(),
        campaign_id=campaign_of(job_id),
        capability="",
        status="failed",
        error=f"{author.device.name} (Fleetmark {author.version}) cannot read its assignment, now a dead letter; "
        f"are the worker and the orchestrator of one version? {reason}"[:20_000],
        error_kind="unreadable_assignment",
        device=author.device,
        model_name="",
        software={"fleetmark": author.version},
        started_at=now,
        ended_at=now,
    )


def log_message(key: AttemptKey, lines: bytes, worker_id: str) -> AttemptLog:
    """Create the message that carries the log of an attempt without a result."""
    return AttemptLog(job_id=key[0], attempt=key[1], worker_id=worker_id, incarnation="", log=_artifact(lines, inline=True))
