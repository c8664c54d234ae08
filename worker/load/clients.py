"""Runs fresh client processes that start together, and gathers what they recorded.

All of them count time on the same monotonic clock, so an agreed moment is the same for each. A process that dies ends nothing but itself:
the others go on, and what is returned says which one died and why.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType
from typing import IO, Any

from shared.clock import Clock, SystemClock
from shared.errors import DeviceFailed, EngineUnavailable, JobCancelled, JobError, ModelInvalid
from shared.request_records import RECORD
from worker.interpreter import python_command
from worker.load.news import News
from worker.load.plan import ClientPlan

NS = 1_000_000_000
NEWS_S = 1.0  # how often it is told how a phase goes
LOOK_S = 0.1  # how often it is asked whether the phase shall end early
ENDED = "ended before anything was measured"
CLEAN_S = 5.0  # how long cleaning may take after that: the service may be the reason
AHEAD_NS = 50_000_000  # between telling the processes the moment and the moment itself
_ERRORS: Mapping[str, type[JobError]] = {error.kind: error for error in (EngineUnavailable, ModelInvalid, DeviceFailed)}


@dataclass
class PhaseRun:
    """Holds what one phase of one repeat gave.

    Attributes:
        began_at: When the measured window began, in seconds since 1970.
        files: The records of each client process, by its index. One that died has left those that it had written.
        counts: How many records each has.
        facts: What each process reports, by its index.
        died: Why processes died, by their index.
        ended_early_s: When it was ended early, in seconds since the measured window began. None if it ran to its end.
    """

    name: str
    began_at: float
    files: dict[int, Path] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    died: dict[int, str] = field(default_factory=dict)
    ended_early_s: float | None = None


class Clients:
    """Owns client processes. Leaving the context ends them."""

    def __init__(self, plans: Sequence[ClientPlan], clock: Clock | None = None, ended: Callable[[], bool] = lambda: False) -> None:
        """Prepare. Nothing is started yet.

        Args:
            ended: Returns whether the work shall end early. It is asked while something is waited for.
        """
        self._plans, self._ended = plans, ended
        self._clock = clock or SystemClock()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._owed: dict[int, int] = {}  # how many answers each process still owes
        self._errors: dict[int, IO[str]] = {}
        self.died: dict[int, str] = {}
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Clients:
        for plan in self._plans:
            errors = (Path(plan.folder) / f"client-{plan.client}.stderr").open("w+")
            self._errors[plan.client] = errors
            command = python_command("worker.load.client")
            # Without buffers, `select` sees every line that was not read.
            self.processes[plan.client] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
        for plan in self._plans:
            self._tell(plan.client, {"do": "plan", "plan": plan.to_json()})
        answers = self._answers()
        self.facts = next(iter(answers.values()))
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)
        for errors in self._errors.values():
            errors.close()

    def prepare(self) -> dict[str, Any]:
        """Make the population, in the first process.

        Raises:
            JobError: It could not be made.
            JobCancelled: The work shall end.
        """
        self._tell(self._plans[0].client, {"do": "prepare"})
        prepared: dict[str, Any] = self._answers([self._plans[0].client])[self._plans[0].client]["prepared"]
        return prepared

    def counted(self) -> dict[str, float] | None:
        """Return what the service has counted itself until now, or None if it does not tell. It is asked by a process that still lives.

        Raises:
            JobError: Every process has died.
            JobCancelled: The work shall end.
        """
        first = min(self.processes)
        self._tell(first, {"do": "count"})
        told: dict[str, float] | None = self._answers([first])[first]["counted"]
        return told

    def clean(self) -> None:
        """Remove what `prepare` made, by a process that still lives.

        Raises:
            JobError: It could not be removed.
        """
        if self.processes:
            first = min(self.processes)
            self._tell(first, {"do": "clean"})
            until = self._clock.monotonic() + CLEAN_S
            while self._owed[first] > 1 or self._ended():  # an answer that nobody waited for, because the work shall end
                if not self._has_answer(first, max(0.0, until - self._clock.monotonic())):
                    raise EngineUnavailable(f"the service did not do it within {CLEAN_S:g} s")
                if self._owed[first] == 1:
                    break
                self._line(first)
            self._answers([first], may_end=False)

    def clean_or_say(self) -> str:
        """Remove what `prepare` made. Returns why it is still there, because that costs no measurement; empty if it is removed."""
        try:
            self.clean()
        except JobError as error:
            return f"what was made in the service could not be removed: {error.detail}"
        return ""

    def wait(self, seconds: float) -> None:
        """Wait while nothing is sent.

        Raises:
            JobCancelled: The work shall end.
        """
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            if self._ended():
                raise JobCancelled(ENDED)
            self._clock.sleep(min(left, LOOK_S))

    def make_ready(self, phase: int) -> None:
        """Open every connection of a phase.

        Raises:
            JobError: One of the processes cannot.
            JobCancelled: The work shall end.
        """
        for client in list(self.processes):
            self._tell(client, {"do": "ready", "phase": phase})
        self._answers()

    def run(self, phase: int, on_news: Callable[[float, str], None] | None = None) -> PhaseRun:
        """Run one phase in every process, and wait until the last of them has ended, or all were told to end early.

        Args:
            on_news: Called about once a second with how much of the phase is done, from 0 to 1, and how it goes, in a few words. It is read
                from the files of the processes, so that it costs them nothing.

        Raises:
            DeviceFailed: Every process died.
        """
        plan = self._plans[0].phases[phase]
        begin_ns = perf_counter_ns() + AHEAD_NS + round(plan.lead_s * NS)
        began_at = self._clock.now().timestamp() + (begin_ns - perf_counter_ns()) / NS
        for client in list(self.processes):
            self._tell(client, {"do": "run", "phase": phase, "begin_ns": begin_ns})
        count = plan.count if plan.count is None or plan.shape.pattern != "trace" else min(plan.count, len(plan.shape.trace_s))
        news = News([Path(each.folder) / each.spool_name(phase) for each in self._plans], begin_ns, count, plan.duration_s)

        def look() -> None:
            if on_news is not None:
                said = news.look()
                on_news(news.share(), said)

        answers = self._answers(on_wait=look, running=True)
        run = PhaseRun(plan.name, began_at, died=dict(self.died))
        for each in self._plans:
            path = Path(each.folder) / each.spool_name(phase)
            if each.client in answers:
                run.facts[each.client] = answers[each.client]
            if path.exists():  # a process that died leaves whole blocks of records
                run.files[each.client] = path
                run.counts[each.client] = path.stat().st_size // RECORD.size
        stops = [answer["stopped_ns"] for answer in answers.values() if answer["stopped_ns"] is not None]
        run.ended_early_s = min(stops) / NS if stops else None
        return run

    def findings(self) -> dict[int, dict[str, Any]]:
        """Let each process that lives compare its answers with known ones, and return what they found.

        Raises:
            JobError: One of the processes cannot.
            JobCancelled: The work shall end.
        """
        for client in list(self.processes):
            self._tell(client, {"do": "findings"})
        return {client: answer["findings"] for client, answer in self._answers().items()}

    def _tell(self, client: int, command: dict[str, Any]) -> None:
        pipe = self.processes[client].stdin
        assert pipe is not None
        if command["do"] != "stop":
            self._owed[client] = self._owed.get(client, 0) + 1
        rest = memoryview(json.dumps(command).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):  # it has died; `_answers` says so
            while rest:
                rest = rest[pipe.write(rest) :]

    def _line(self, client: int) -> bytes:
        """Wait for the next line of a process. It does not end with a line break if the process has ended."""
        pipe = self.processes[client].stdout
        assert pipe is not None
        self._owed[client] -= 1
        return pipe.readline()

    def _answers(
        self,
        clients: Sequence[int] | None = None,
        on_wait: Callable[[], None] | None = None,
        *,
        running: bool = False,
        may_end: bool = True,
    ) -> dict[int, dict[str, Any]]:
        """Read one line from each process. While none comes, `on_wait` is called every `NEWS_S`.

        Args:
            running: Whether the processes run a phase. If the work shall end, they are told so, and answer.
            may_end: Whether to give up if the work shall end and no phase runs.

        Raises:
            JobError: A process says why it cannot go on, or all have died.
            JobCancelled: The work shall end.
        """
        found: dict[int, dict[str, Any]] = {}
        told, said_at = False, self._clock.monotonic()
        for client in list(self.processes) if clients is None else clients:
            while not self._has_answer(client, LOOK_S):
                if not told and may_end and self._ended():
                    if not running:
                        raise JobCancelled(ENDED)
                    told = True
                    for each in list(self.processes):
                        self._tell(each, {"do": "stop"})
                if on_wait is not None and self._clock.monotonic() - said_at >= NEWS_S:
                    said_at = self._clock.monotonic()
                    on_wait()
            line = self._line(client)
            if not line.endswith(b"\n"):
                self._bury(client)
                continue
            answer = json.loads(line)
            if "error" in answer:
                raise _ERRORS.get(answer["error_kind"], EngineUnavailable)(answer["error"])
            found[client] = answer
        if not found:
            raise DeviceFailed(f"every client process died: {next(iter(self.died.values()))}")
        return found

    def _has_answer(self, client: int, within_s: float) -> bool:
        """Return whether a process has written something, or has ended. On Windows, reading it has to wait for this."""
        pipe = self.processes[client].stdout
        return pipe is None or sys.platform == "win32" or bool(select.select([pipe], [], [], within_s)[0])

    def _bury(self, client: int) -> None:
        process = self.processes.pop(client)
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close(pipe)
        errors = self._errors[client]
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["it wrote nothing"])[-1]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self.died[client] = f"client process {client} ended with {how}: {last}"


def _close(pipe: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):  # there was something left to write, and nobody reads it any more
        pipe.close()
