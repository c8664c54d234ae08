"""Stores the files that come with a result (raw samples, telemetry and logs) beside the campaign's reports, before the worker is answered.

A worker that gets no answer sends its result again. So a crash after the row was written and before its files were stored loses
nothing. `awaited` says how long a worker gets no answer because a file is missing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.operations.context import Context
from orchestrator.operations.uploads import Upload, hash_of
from orchestrator.store.tables import ResultRow
from orchestrator.whole_files import move_durably, remove_left_behind, whole_file
from shared.ids import campaign_of
from shared.protocol.messages import Artifact, AttemptLog, Result
from shared.request_records import NAME as REQUESTS
from shared.written_texts import NAME as OUTPUTS

log = logging.getLogger(__name__)

SAMPLES = "samples.npz"
TELEMETRY = "telemetry.npz"
LOG = "log.jsonl"
ACCEPTED = (SAMPLES, TELEMETRY, REQUESTS, OUTPUTS, LOG)
FOLDERS = {SAMPLES: "samples", TELEMETRY: "telemetry", REQUESTS: "requests", OUTPUTS: "outputs"}
RECORDS = (SAMPLES, REQUESTS, OUTPUTS)  # what was measured itself; everything else is beside it


@dataclass(frozen=True)
class Lack:
    """Names a file that a result announced but that is not in its place."""

    what: str
    may_come: bool  # False for a file inside the message: sending it again would not help


def keep_artifacts(ctx: Context, report: Result) -> list[Lack]:
    """Put the artifacts of a recorded result into `outputs/<campaign>/`. Return the files that are missing. Safe to repeat.

    Raises:
        OSError: the folder cannot be written.
    """
    lacks = []
    for name in ACCEPTED:
        artifact = report.artifacts.get(name)
        if artifact is None:
            continue
        target = place_of(ctx, report.job_id, name)
        inline = artifact.inline is not None
        source = _checked(artifact) if inline else Upload(ctx, report.job_id, report.attempt, name).found(artifact.sha256, artifact.size)
        if source is None:
            if not _is_kept(target, name, report.attempt, artifact.sha256):  # when a result is sent twice, its file is already in place
                lacks.append(Lack(f"{name} {'is not what its hash says' if inline else 'was announced and is not here'}", not inline))
            continue
        if name == LOG:
            _add_log(target, report.attempt, source)
        elif isinstance(source, Path):
            target.parent.mkdir(parents=True, exist_ok=True)
            move_durably(source, target)
        else:
            # Samples are the record, so they must be on disk before the worker deletes its copy. Telemetry stands beside them.
            _write(target, source, durable=name in RECORDS)
    return lacks


def is_lacking(ctx: Context, row: ResultRow, name: str) -> bool:
    """Return whether a recorded result announced this file but the file is not in its place."""
    artifacts = row.result.get("artifacts") if isinstance(row.result, dict) else None
    announced = artifacts.get(name) if isinstance(artifacts, dict) else None
    if not isinstance(announced, dict):
        return False
    return not _is_kept(place_of(ctx, row.job_id, name), name, row.attempt, str(announced.get("sha256")))


def keep_log(ctx: Context, report: Result | AttemptLog) -> None:
    """Add the log of an attempt that has no recorded result to its job's log. Only a log inside the message is added.

    Raises:
        OSError: the folder cannot be written.
    """
    artifact = report.log if isinstance(report, AttemptLog) else report.artifacts.get(LOG)
    if artifact is None or artifact.inline is None:
        return
    if (lines := _checked(artifact)) is None:
        log.warning("the log of attempt %d of %s is not what its hash says; it is left out", report.attempt, report.job_id)
    else:
        _add_log(place_of(ctx, report.job_id, LOG), report.attempt, lines)


def drop_uploads(ctx: Context, report: Result) -> None:
    """Delete the uploads for a result. Call this when its files are in their place, or when the result is unwanted.

    Raises:
        OSError: the folder cannot be written.
    """
    for name in ACCEPTED:
        if name in report.artifacts:
            Upload(ctx, report.job_id, report.attempt, name).drop()


def place_of(ctx: Context, job_id: str, name: str) -> Path:
    folder = ctx.settings.outputs_dir / campaign_of(job_id)
    return folder / FOLDERS[name] / f"{job_id}{Path(name).suffix}" if name in FOLDERS else folder / "logs" / f"{job_id}.log"


def _is_kept(target: Path, name: str, attempt: int, sha256: str) -> bool:
    if not target.is_file():
        return False
    if name == LOG:  # all attempts of a job share one log file
        return any(_attempt_of(line) == attempt for line in target.read_bytes().splitlines())
    return hash_of(target) == sha256


def _checked(artifact: Artifact) -> bytes | None:
    """Return the content of a file inside a message, or None if it does not match its hash."""
    try:
        content = base64.b64decode(artifact.inline or "", validate=True)
    except ValueError:  # not base64, or not even ASCII
        return None
    return content if hashlib.sha256(content).hexdigest() == artifact.sha256 else None


def _add_log(path: Path, attempt: int, source: bytes | Path) -> None:
    """Add an attempt's lines to a log. Lines stay sorted by attempt. If the attempt's lines are there already, they are replaced."""
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
    """Write a file. An existing file is replaced atomically.

    A new file is written directly, because that is cheaper and a fleet writes thousands of them. If that write is cut short, the
    worker sends the file again, and then it is replaced atomically.
    """
    try:
        _fill(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), content, durable=durable)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content, durable=durable)
    except FileExistsError:
        with whole_file(path, durable=durable) as file:
            file.write(content)
        remove_left_behind(path, path.name)


def _fill(descriptor: int, content: bytes, *, durable: bool) -> None:
    rest = memoryview(content)
    with open(descriptor, "wb", buffering=0) as file:
        while rest:  # a nearly full disk accepts a part of the bytes; only the next write fails
            rest = rest[file.write(rest) :]
        if durable:
            os.fsync(descriptor)
