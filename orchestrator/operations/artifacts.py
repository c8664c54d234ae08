"""Files that come with a result: raw samples and logs, put beside the campaign's reports before the worker is answered.

A worker that got no answer sends its result again, so a crash between the row and its files loses neither.
"""

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
from shared.protocol.messages import Artifact, Result

log = logging.getLogger(__name__)

SAMPLES = "samples.npz"
LOG = "log.jsonl"
ACCEPTED = (SAMPLES, LOG)


def upload_path(ctx: Context, campaign_id: str, job_id: str, attempt: int, name: str) -> Path:
    """Where a large artifact is collected until its result arrives."""
    return ctx.settings.outputs_dir / campaign_id / ".uploads" / f"{job_id}.{attempt}.{name}"


def keep_artifacts(ctx: Context, report: Result) -> None:
    """Put the artifacts of a recorded result into `outputs/<campaign>/`. Safe to repeat.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = ctx.settings.outputs_dir / _campaign_of(report)
    samples = folder / "samples" / f"{report.job_id}.npz"
    lines = folder / "logs" / f"{report.job_id}.log"
    for name, target in ((SAMPLES, samples), (LOG, lines)):
        artifact = report.artifacts.get(name)
        if artifact is None:
            continue
        source = _checked(ctx, report, name, artifact, target)
        if source is None:
            continue
        if name == LOG:
            content = source.read_bytes() if isinstance(source, Path) else source
            _write(target, _merged(target, report.attempt, content), durable=False)
        elif isinstance(source, Path):
            _sync(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
        else:
            _write(target, source, durable=True)  # the record: on disk before the worker drops its copy
    drop_uploads(ctx, report)


def drop_uploads(ctx: Context, report: Result) -> None:
    """Forget what was uploaded for a result that is kept, or that nobody wants."""
    for name in ACCEPTED:
        artifact = report.artifacts.get(name)
        if artifact is not None and artifact.inline is None:
            upload_path(ctx, _campaign_of(report), report.job_id, report.attempt, name).unlink(missing_ok=True)


def _campaign_of(report: Result) -> str:
    return report.job_id.rpartition("-job-")[0]


def _checked(ctx: Context, report: Result, name: str, artifact: Artifact, target: Path) -> bytes | Path | None:
    """An artifact that is what its hash says: its bytes, or the uploaded file."""
    what = f"{name} of {report.job_id} attempt {report.attempt}"
    if artifact.inline is not None:
        try:
            content = base64.b64decode(artifact.inline, validate=True)
        except binascii.Error:
            log.warning("%s is not base64; it is left out", what)
            return None
        if hashlib.sha256(content).hexdigest() == artifact.sha256:
            return content
    else:
        path = upload_path(ctx, _campaign_of(report), report.job_id, report.attempt, name)
        if not path.is_file():
            if not target.is_file():  # there it is already when the result was sent twice
                log.warning("%s was announced and never arrived", what)
            return None
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256:
                return path
    log.warning("%s is not what its hash says; it is left out", what)
    return None


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


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
    """Write a file; what is there already is replaced whole or not at all.

    A new one needs no such care, and a fleet writes thousands of them: cut short, it is sent again and then replaced.
    """
    try:
        _fill(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), content, durable=durable)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content, durable=durable)
    except FileExistsError:
        for leftover in path.parent.glob(f".{path.name}.*.part"):  # of a writer that was killed
            leftover.unlink(missing_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        _fill(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), content, durable=durable)
        part.replace(path)


def _fill(descriptor: int, content: bytes, *, durable: bool) -> None:
    with open(descriptor, "wb", buffering=0) as file:
        file.write(content)
        if durable:
            os.fsync(descriptor)
