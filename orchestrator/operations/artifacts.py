"""Files that come with a result: raw samples and logs, put beside the campaign's reports before the row is committed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import os
import secrets
from pathlib import Path

from orchestrator.operations.context import Context
from orchestrator.store.moves import LockedJob
from shared.protocol.messages import Artifact, Result

log = logging.getLogger(__name__)

SAMPLES = "samples.npz"
LOG = "log.jsonl"
ACCEPTED = (SAMPLES, LOG)


def upload_path(ctx: Context, campaign_id: str, job_id: str, attempt: int, name: str) -> Path:
    """Where a large artifact is collected until its result arrives."""
    return ctx.settings.outputs_dir / campaign_id / ".uploads" / f"{job_id}.{attempt}.{name}"


def keep_artifacts(ctx: Context, job: LockedJob, report: Result) -> None:
    """Write the artifacts of a result to `outputs/<campaign>/`. Safe to repeat."""
    folder = ctx.settings.outputs_dir / job.campaign_id
    for name in ACCEPTED:
        artifact = report.artifacts.get(name)
        if artifact is None:
            continue
        content = _content(ctx, job, report, name, artifact)
        if content is None:
            continue
        if name == SAMPLES:
            _write(folder / "samples" / f"{job.id}.npz", content, durable=True)  # the record: on disk before the worker drops its copy
        else:
            path = folder / "logs" / f"{job.id}.log"
            _write(path, _merged(path, report.attempt, content), durable=False)


def _content(ctx: Context, job: LockedJob, report: Result, name: str, artifact: Artifact) -> bytes | None:
    if artifact.inline is not None:
        try:
            content = base64.b64decode(artifact.inline, validate=True)
        except binascii.Error:
            log.warning("%s of %s attempt %d is not base64; it is left out", name, job.id, report.attempt)
            return None
    else:
        path = upload_path(ctx, job.campaign_id, job.id, report.attempt, name)
        if not path.is_file():
            log.warning("%s of %s attempt %d was announced and never arrived", name, job.id, report.attempt)
            return None
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != artifact.sha256:
        log.warning("%s of %s attempt %d is not what its hash says; it is left out", name, job.id, report.attempt)
        return None
    return content


def _merged(path: Path, attempt: int, lines: bytes) -> bytes:
    """The log of earlier attempts, then this one's; a repeated attempt replaces itself."""
    if not path.is_file():
        return lines
    kept = [line for line in path.read_bytes().splitlines(keepends=True) if _attempt_of(line) != attempt]
    return b"".join(kept) + lines


def _attempt_of(line: bytes) -> int | None:
    try:
        found = json.loads(line).get("attempt")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None


def _write(path: Path, content: bytes, *, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with part.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)
