"""Files that come with a result: raw samples and logs, put beside the campaign's reports before the worker is answered.

A worker that got no answer sends its result again, so a crash between the row and its files loses neither.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import secrets
from pathlib import Path

from orchestrator.operations.context import Context
from shared.ids import campaign_of
from shared.protocol.messages import Artifact, AttemptLog, JobMessage, Result

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
    folder = ctx.settings.outputs_dir / campaign_of(report.job_id)
    samples = folder / "samples" / f"{report.job_id}.npz"
    for name, target in ((SAMPLES, samples), (LOG, _log_path(ctx, report))):
        artifact = report.artifacts.get(name)
        if artifact is None:
            continue
        source = _checked(ctx, report, name, artifact, target)
        if source is None:
            continue
        if name == LOG:
            _add_log(target, report.attempt, source)
        elif isinstance(source, Path):
            _sync(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
        else:
            _write(target, source, durable=True)  # the record: on disk before the worker drops its copy
    drop_uploads(ctx, report)


def keep_log(ctx: Context, report: Result | AttemptLog) -> None:
    """Add the log of an attempt that came to nothing to its job's. Only one that came inside the message is there to add.

    Raises:
        OSError: the folder cannot be written.
    """
    artifact = report.log if isinstance(report, AttemptLog) else report.artifacts.get(LOG)
    if artifact is None or artifact.inline is None:
        return
    target = _log_path(ctx, report)
    source = _checked(ctx, report, LOG, artifact, target)
    if source is not None:
        _add_log(target, report.attempt, source)


def drop_uploads(ctx: Context, report: Result) -> None:
    """Forget what was uploaded for a result that is kept, or that nobody wants."""
    for name in ACCEPTED:
        artifact = report.artifacts.get(name)
        if artifact is not None and artifact.inline is None:
            upload_path(ctx, campaign_of(report.job_id), report.job_id, report.attempt, name).unlink(missing_ok=True)


def _log_path(ctx: Context, report: JobMessage) -> Path:
    return ctx.settings.outputs_dir / campaign_of(report.job_id) / "logs" / f"{report.job_id}.log"


def _checked(ctx: Context, report: JobMessage, name: str, artifact: Artifact, target: Path) -> bytes | Path | None:
    """An artifact that is what its hash says: its bytes, or the uploaded file."""
    what = f"{name} of {report.job_id} attempt {report.attempt}"
    if artifact.inline is not None:
        try:
            content = base64.b64decode(artifact.inline, validate=True)
        except ValueError:  # not base64, or not even ASCII
            log.warning("%s is not base64; it is left out", what)
            return None
        if hashlib.sha256(content).hexdigest() == artifact.sha256:
            return content
    else:
        path = upload_path(ctx, campaign_of(report.job_id), report.job_id, report.attempt, name)
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


def _add_log(path: Path, attempt: int, source: bytes | Path) -> None:
    """Add an attempt's lines, attempt after attempt however late one comes; a repeated one replaces itself."""
    lines = source.read_bytes() if isinstance(source, Path) else source
    if path.is_file():
        kept = [line for line in path.read_bytes().splitlines(keepends=True) if _attempt_of(line) != attempt]
        kept += lines.splitlines(keepends=True)
        kept.sort(key=_attempt_of)
        lines = b"".join(kept)
    _write(path, lines, durable=False)


def _attempt_of(line: bytes) -> int:
    try:
        found = json.loads(line).get("attempt")
    except (ValueError, AttributeError, RecursionError):
        return 0
    return found if isinstance(found, int) else 0


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
    rest = memoryview(content)
    with open(descriptor, "wb", buffering=0) as file:
        while rest:  # a disk that is about to be full takes a part of it, and says so only to the next write
            rest = rest[file.write(rest) :]
        if durable:
            os.fsync(descriptor)
