"""Reads the logs of a campaign's jobs: `outputs/<campaign>/logs/<job>.log`, which hold the lines of all attempts of a job.

A worker sends the log of an attempt when the attempt has ended. Files are read one at a time, and each is at most a few megabytes.
"""

from __future__ import annotations

import heapq
import io
import json
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from orchestrator.operations.context import Context
from orchestrator.store import campaigns, jobs
from shared.errors import NotFound
from shared.ids import JOB_ID
from shared.jobs import CampaignStatus
from shared.masking import masked

LEVELS = ("debug", "info", "warning", "error")
HISTORY_PAGE = 1_000  # the number of jobs whose history is read at once


@dataclass(frozen=True)
class Wanted:
    """Says which lines are wanted. None and empty values do not restrict them.

    Attributes:
        level: the least level.
        search: a text that the message contains; upper and lower case are the same.
    """

    level: str | None = None
    sources: tuple[str, ...] = ()
    job: str | None = None
    worker: str | None = None
    search: str | None = None
    since: datetime | None = None

    def takes(self, line: dict[str, Any]) -> bool:
        if self.level is not None and _rank(line.get("level")) < _rank(self.level):
            return False
        if self.sources and line.get("source") not in self.sources:
            return False
        if self.worker is not None and line.get("worker") != self.worker:
            return False
        if self.search is not None and self.search.casefold() not in str(line.get("message", "")).casefold():
            return False
        return self.since is None or _time(line) >= self.since.timestamp()


def _rank(level: Any) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def _time(line: dict[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(line.get("time"))).timestamp()
    except ValueError:
        return 0.0


class CampaignLogs:
    """Reads the logs of one campaign. Each call of `new_lines` returns what has been added since the last one."""

    def __init__(self, ctx: Context, campaign_id: str, wanted: Wanted) -> None:
        """
        Raises:
            NotFound: there is no such campaign, or it has no such job.
        """
        with ctx.store.read() as session:
            campaigns.get(session, campaign_id)
            if wanted.job is not None and jobs.get(session, wanted.job).campaign_id != campaign_id:
                raise NotFound(f"campaign {campaign_id} has no job {wanted.job!r}; GET /api/jobs?campaign={campaign_id} lists its jobs")
        self._ctx, self._campaign_id, self._wanted = ctx, campaign_id, wanted
        # the state of each file, and how many lines of each attempt were read
        self._seen: dict[Path, tuple[tuple[int, int], Counter[int]]] = {}

    def new_lines(self) -> Iterator[bytes]:
        """Yield the wanted lines that were not returned before, job by job, each with its line end.

        A file may be read while it is being written, so the lines of each attempt are counted. An attempt's lines only grow.
        """
        for path in log_files(self._ctx, self._campaign_id, self._wanted.job):
            yield from self._of_file(path)

    def _of_file(self, path: Path) -> Iterator[bytes]:
        try:
            found = path.stat()
            state, before = (found.st_mtime_ns, found.st_size), self._seen.get(path, ((0, 0), Counter[int]()))
            if before[0] == state:
                return
            content = path.read_bytes()
        except FileNotFoundError:  # the campaign was removed
            return
        attempts: Counter[int] = Counter()
        for raw in content.splitlines(keepends=True):
            line = _read(raw)
            if line is None:
                continue
            attempt = line.get("attempt")
            if isinstance(attempt, int):
                attempts[attempt] += 1
                if attempts[attempt] <= before[1][attempt]:
                    continue
            if self._wanted.takes(line):
                yield raw if raw.endswith(b"\n") else raw + b"\n"
        self._seen[path] = (state, attempts | before[1])

    def tail(self, number: int) -> list[bytes]:
        """Return the newest wanted lines of all jobs, at most `number`, in the order of their times."""
        timed = ((_time(json.loads(raw)), place, raw) for place, raw in enumerate(self.new_lines()))
        return [raw for _, _, raw in sorted(heapq.nlargest(number, timed))]

    def has_ended(self) -> bool:
        """Return whether no more lines are expected: the campaign has ended and its files are written, or it was removed."""
        try:
            with self._ctx.store.read() as session:
                campaign = campaigns.get(session, self._campaign_id)
                return campaign.status != CampaignStatus.RUNNING and campaign.reported_at is not None
        except NotFound:
            return True


def _read(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def log_files(ctx: Context, campaign_id: str, job: str | None = None) -> list[Path]:
    """Return the log files of a campaign, or of one of its jobs, in the order of the jobs."""
    folder = ctx.settings.outputs_dir / campaign_id / "logs"
    if not folder.is_dir():
        return []
    named = [(match, path) for path in folder.iterdir() if path.suffix == ".log" and (match := JOB_ID.fullmatch(path.stem)) is not None]
    return [path for match, path in sorted(named, key=lambda pair: int(pair[0][2])) if job in (None, match[0])]


def archive(ctx: Context, campaign_id: str) -> Iterator[bytes]:
    """Yield a `.tar.gz` of all logs of a campaign, with `history.jsonl`: what the orchestrator noted about each job.

    Raises:
        NotFound: there is no such campaign. This is raised before the first piece.
    """
    with ctx.store.read() as session:
        total = campaigns.get(session, campaign_id).total_jobs
    return _pack(ctx, campaign_id, total)


def _pack(ctx: Context, campaign_id: str, total: int) -> Iterator[bytes]:
    out = _Pieces()
    with tarfile.open(fileobj=out, mode="w|gz") as tar:
        for path in log_files(ctx, campaign_id):
            try:
                content = path.read_bytes()
                _add(tar, f"{campaign_id}/logs/{path.name}", io.BytesIO(content), len(content), path.stat().st_mtime)
            except FileNotFoundError:  # the campaign was removed
                continue
            yield from out.taken()
        with tempfile.TemporaryFile() as history:  # the history of 100 000 jobs has 60 MB
            history.writelines(_history(ctx, campaign_id, total))
            size = history.tell()
            history.seek(0)
            _add(tar, f"{campaign_id}/history.jsonl", history, size, ctx.clock.now().timestamp())
    yield from out.taken()


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int, modified: float) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, int(modified), 0o644
    tar.addfile(entry, content)


class _Pieces(io.RawIOBase):
    """Collects what a tar file writes, until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> list[bytes]:
        parts, self._parts = self._parts, []
        return [part for part in parts if part]


def _history(ctx: Context, campaign_id: str, total: int) -> Iterator[bytes]:
    for after in range(0, total, HISTORY_PAGE):
        with ctx.store.read() as session:
            events = jobs.events_of(session, campaign_id, after=after, limit=HISTORY_PAGE)
            session.expunge_all()
        for event in events:
            line = {
                "time": event.at.isoformat(timespec="milliseconds"),
                "job": event.job_id,
                "attempt": event.attempt,
                "kind": event.kind,
                "worker": event.worker_id,
                "message": masked(event.detail),
            }
            yield json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n"
