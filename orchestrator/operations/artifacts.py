"""Puts the files that come with a result, raw samples and logs, beside the campaign's reports before the worker is answered.

A worker that got no answer sends its result again, so a crash between the row and its files loses neither; how long it gets
none for a file that does not come is in `awaited`.
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

log = logging.getLogger(__name__)

SAMPLES = "samples.npz"
LOG = "log.jsonl"
ACCEPTED = (SAMPLES, LOG)


@dataclass(frozen=True)
class Lack:
    """A file that a result announced and that is not in its place."""

    what: str
    may_come: bool  # False: it came inside the message, and would be no better the next time


def keep_artifacts(ctx: Context, report: Result) -> list[Lack]:
    """Put the artifacts of a recorded result into `outputs/<campaign>/`. Returns what is not there. Safe to repeat.

    Raises:
        OSError: the folder cannot be written.
    """
    lacks = []
    for name in ACCEPTED:
        artifact = report.artifacts.get(name)
        if artifact is None:
            continue
        target = _place(ctx, report.job_id, name)
        inline = artifact.inline is not None
        source = _checked(artifact) if inline else Upload(ctx, report.job_id, report.attempt, name).found(artifact.sha256, artifact.size)
        if source is None:
            if not _is_kept(target, name, report.attempt, artifact.sha256):  # there it is already when the result was sent twice
                lacks.append(Lack(f"{name} {'is not what its hash says' if inline else 'was announced and is not here'}", not inline))
            continue
        if name == LOG:
            _add_log(target, report.attempt, source)
        elif isinstance(source, Path):
            target.parent.mkdir(parents=True, exist_ok=True)
            move_durably(source, target)
        else:
            _write(target, source, durable=True)  # the record: on disk before the worker drops its copy
    return lacks


def is_lacking(ctx: Context, row: ResultRow, name: str) -> bool:
    """Return whether a recorded result announced this file, and it is not in its place."""
    artifacts = row.result.get("artifacts") if isinstance(row.result, dict) else None
    announced = artifacts.get(name) if isinstance(artifacts, dict) else None
    if not isinstance(announced, dict):
        return False
    return not _is_kept(_place(ctx, row.job_id, name), name, row.attempt, str(announced.get("sha256")))


def keep_log(ctx: Context, report: Result | AttemptLog) -> None:
    """Add the log of an attempt that came to nothing to its job's. Only one that came inside the message is there to add.

    Raises:
        OSError: the folder cannot be written.
    """
    artifact = report.log if isinstance(report, AttemptLog) else report.artifacts.get(LOG)
    if artifact is None or artifact.inline is None:
        return
    if (lines := _checked(artifact)) is None:
        log.warning("the log of attempt %d of %s is not what its hash says; it is left out", report.attempt, report.job_id)
    else:
        _add_log(_place(ctx, report.job_id, LOG), report.attempt, lines)


def drop_uploads(ctx: Context, report: Result) -> None:
    """Forget what was uploaded for a result whose files are in their place, or that nobody wants.

    Raises:
        OSError: the folder cannot be written.
    """
    for name in ACCEPTED:
        if name in report.artifacts:
            Upload(ctx, report.job_id, report.attempt, name).drop()


def _place(ctx: Context, job_id: str, name: str) -> Path:
    folder = ctx.settings.outputs_dir / campaign_of(job_id)
    return folder / "samples" / f"{job_id}.npz" if name == SAMPLES else folder / "logs" / f"{job_id}.log"


def _is_kept(target: Path, name: str, attempt: int, sha256: str) -> bool:
    if not target.is_file():
        return False
    if name == LOG:  # one file for the attempts of a job
        return any(_attempt_of(line) == attempt for line in target.read_bytes().splitlines())
    return hash_of(target) == sha256


def _checked(artifact: Artifact) -> bytes | None:
    """Return what came inside a message if it is what its hash says, else None."""
    try:
        content = base64.b64decode(artifact.inline or "", validate=True)
    except ValueError:  # not base64, or not even ASCII
        return None
    return content if hashlib.sha256(content).hexdigest() == artifact.sha256 else None


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
        with whole_file(path, durable=durable) as file:
            file.write(content)
        remove_left_behind(path, path.name)


def _fill(descriptor: int, content: bytes, *, durable: bool) -> None:
    rest = memoryview(content)
    with open(descriptor, "wb", buffering=0) as file:
        while rest:  # a disk that is about to be full takes a part of it, and says so only to the next write
            rest = rest[file.write(rest) :]
        if durable:
            os.fsync(descriptor)
