"""Follows a campaign. A terminal shows a live progress bar for each job. Other outputs get a line for each change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from cli.client import Client
from cli.errors import Away, Unreachable
from cli.tables import STATE_STYLES, told_apart, work_name
from cli.terminal import err, say
from shared.clock import Clock, SystemClock
from shared.jobs import TERMINAL, CampaignStatus, JobStatus

POLL_S = 0.4
BARS = 16  # a campaign with more jobs has one bar for all of them, and bars for the running jobs only
LONG_WAIT = 12  # after so many looks (5 s), the whole reason of a wait is shown once if it does not fit into its column
WIDE = 120  # a terminal with fewer columns has shorter bars, and no column for the time
BAR, SHORT_BAR, PERCENT, ELAPSED, STAGE = 32, 8, 6, 7, 24  # the widths of columns; most stages are no longer than the last one
PATIENCE_S = 120.0  # how long to wait for an orchestrator that restarts


@dataclass(frozen=True)
class JobView:
    """Holds what is displayed of one job."""

    job_id: str
    name: str
    status: str
    stage: str
    progress: float
    error: str

    @property
    def words(self) -> str:
        """Return what the job is doing, as text for people."""
        if self.status == JobStatus.RUNNING and self.stage:
            return self.stage
        return f"{self.status}: {self.stage}" if self.stage and self.status == JobStatus.PENDING else self.status


def watch(
    client: Client,
    campaign_id: str,
    clock: Clock | None = None,
    each_round: Callable[[], None] = lambda: None,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Follow a campaign until it has ended. Return the API's last description of it.

    Args:
        each_round: is called before every request. It may raise an exception to stop.
        timeout_s: return after this time even if the campaign is still running.

    Raises:
        Unreachable: the orchestrator has been away for `PATIENCE_S`, or does not answer when the time is over.
    """
    clock = clock or SystemClock()
    end = clock.monotonic() + timeout_s if timeout_s is not None else math.inf
    screen: _Bars | _Lines = _Bars() if err.is_terminal else _Lines()
    lost_at: float | None = None
    with screen:
        while True:
            each_round()
            try:
                campaign: dict[str, Any] = client.get(f"campaigns/{campaign_id}", jobs="false")
                screen.show(campaign, _jobs(client, campaign))
            except Unreachable as error:
                lost_at = lost_at if lost_at is not None else clock.monotonic()
                if clock.monotonic() - lost_at > PATIENCE_S or clock.monotonic() >= end:
                    raise
                screen.lost(error.detail if isinstance(error, Away) else f"{client.host} does not answer")
            else:
                lost_at = None
                if campaign["status"] != CampaignStatus.RUNNING or clock.monotonic() >= end:
                    return campaign
            clock.sleep(max(0.0, min(POLL_S, end - clock.monotonic())))


def _jobs(client: Client, campaign: dict[str, Any]) -> list[JobView]:
    """Return every job of a small campaign, or up to `BARS` running jobs of a large one."""
    small = campaign["total_jobs"] <= BARS
    status = None if small else JobStatus.RUNNING.value
    listed = client.pages("jobs", "jobs", limit=BARS, campaign=campaign["campaign_id"], status=status)
    found = []
    for job in listed:
        if job["status"] == JobStatus.RUNNING and "progress" not in job:
            job |= client.get(f"jobs/{job['job_id']}")["job"]
        found.append(job)
    return [_view(job) for job in told_apart(found)]


def _view(job: dict[str, Any]) -> JobView:
    done = job["status"] in TERMINAL
    device = f" of {job['device']}" if job.get("device") else ""
    work = work_name(job["model"], job.get("options"), job.get("parameters"))
    return JobView(
        job_id=job["job_id"],
        name=f"{work} on {job.get('capability') or job['compute_unit']}{device}",
        status=job["status"],
        stage=str(job.get("stage") or job.get("waiting_for") or ""),
        progress=1.0 if done else float(job.get("progress") or 0.0),
        error=str(job.get("error") or ""),
    )


class _Progress(Progress):
    """Shows bars, and above them a line that may use the whole width of the terminal."""

    line = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.line:
            yield Text(self.line)
        yield from super().get_renderables()


class _Bars:
    """Shows one bar for each job. A large campaign has one bar for all jobs and one for each running job."""

    def __init__(self) -> None:
        wide = err.width >= WIDE
        self._name, self._words = Column(no_wrap=True, overflow="ellipsis"), Column(no_wrap=True, overflow="ellipsis")
        name = TextColumn("{task.description}", markup=False, table_column=self._name)
        bar, percent = BarColumn(bar_width=BAR if wide else SHORT_BAR), TextColumn("{task.percentage:>4.0f} %")
        words = TextColumn("{task.fields[words]}", table_column=self._words)
        self._progress = _Progress(name, bar, percent, words, *([TimeElapsedColumn()] if wide else []), console=err)
        # The rest of the line is for the name and the stage. Rich would take something from every column, also from a percentage.
        taken = [BAR, PERCENT, ELAPSED] if wide else [SHORT_BAR, PERCENT]
        self._free = err.width - sum(taken) - len(taken) - 1
        self._bars: dict[str, TaskID] = {}
        self._whole: TaskID | None = None
        self._waits: Counter[str] = Counter()
        self._reasons: set[str] = set()  # why the orchestrator has been away since it answered last, as far as they were printed

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, campaign: dict[str, Any], jobs: list[JobView]) -> None:
        self._reasons.clear()
        self._fit([job.name for job in jobs] if campaign["total_jobs"] <= BARS else [campaign["name"], *(job.name for job in jobs)])
        if campaign["total_jobs"] > BARS:
            self._show_whole(campaign)
            running = {job.job_id for job in jobs}
            for gone in [job_id for job_id in self._bars if job_id not in running]:
                self._progress.remove_task(self._bars.pop(gone))
        self._show_long_waits(jobs)
        for job in jobs:
            if job.job_id not in self._bars:
                waits = job.status == JobStatus.PENDING
                self._bars[job.job_id] = self._progress.add_task(job.name, total=1.0, words="", start=not waits)
            bar = self._bars[job.job_id]
            if job.status != JobStatus.PENDING:
                self._progress.start_task(bar)  # changes nothing if it has started already
            style = STATE_STYLES.get(job.status, "none")
            words = f"[{style}]{escape(job.words)}[/]"
            told = job.stage or job.status != JobStatus.RUNNING  # between two reports of a running job, its bar stays where it is
            self._progress.update(bar, completed=job.progress if told else None, words=words, description=job.name)
            if job.status in TERMINAL:
                self._progress.stop_task(bar)

    def _fit(self, names: list[str]) -> None:
        """Divide what is left of the line: a stage gets its usual width, or what the names leave free."""
        longest = max((cell_len(name) for name in names), default=0)
        self._name.max_width = max(1, min(longest, self._free - STAGE))
        self._words.max_width = max(1, self._free - self._name.max_width)

    def _show_long_waits(self, jobs: list[JobView]) -> None:
        """Print above the bars, once, what jobs have been waiting for, if their column is too narrow for it."""
        for words in dict.fromkeys(job.words for job in jobs if job.status == JobStatus.PENDING):
            self._waits[words] += 1
            if self._waits[words] == LONG_WAIT and not self._fits(words):
                say(words)

    def _show_whole(self, campaign: dict[str, Any]) -> None:
        counts = campaign["job_breakdown"]
        ended = sum(counts[status] for status in TERMINAL)
        if self._whole is None:
            self._whole = self._progress.add_task(campaign["name"], total=campaign["total_jobs"], words="")
        words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        if self._progress.line or not self._fits(words):  # once the counts have their own line, they stay there
            self._progress.line = f"{campaign['name']}: {words}"
            words = ""
        self._progress.update(self._whole, completed=ended, words=words)

    def _fits(self, words: str) -> bool:
        """Return whether the column for words shows all of these."""
        return cell_len(words) <= (self._words.max_width or 0)

    def lost(self, why: str) -> None:
        """Show why there is nothing new. A reason that no bar shows whole is printed above the bars, once in each outage."""
        words = f"{why}; waiting"
        bars = [*self._bars.values(), *([self._whole] if self._whole is not None else [])]
        if words not in self._reasons and (not bars or not self._fits(words)):
            self._reasons.add(words)
            say(words)
        for bar in bars:
            self._progress.update(bar, words=f"[yellow]{escape(words)}[/]")


class _Lines:
    """Prints a line whenever a job changes its state or its stage, for logs and pipes."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._lost = False

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, campaign: dict[str, Any], jobs: list[JobView]) -> None:
        self._lost = False
        if campaign["total_jobs"] > BARS:
            counts = ", ".join(f"{count} {status}" for status, count in campaign["job_breakdown"].items() if count)
            self._say(campaign["campaign_id"], f"{campaign['name']}: {counts}")
            return
        for job in jobs:
            self._say(job.job_id, f"{job.name}: {job.words}{f' ({job.error})' if job.error else ''}")

    def _say(self, key: str, line: str) -> None:
        if self._said.get(key) != line:
            self._said[key] = line
            say(line)

    def lost(self, why: str) -> None:
        if not self._lost:
            say(f"{why}; waiting")
            self._lost = True
