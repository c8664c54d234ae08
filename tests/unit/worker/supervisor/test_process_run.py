from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import pytest

from shared.clock import FakeClock
from shared.errors import DeadlineExceeded
from tests.measuring import assignment, log_for
from worker.measured.request import RunRequest
from worker.supervisor.guard_process import GuardEvent, GuardProcess
from worker.supervisor.process_run import ProcessRun, TimeLimit

STILL = {"still_s": 0.0, "asleep_s": 0.0, "times": 0}


class GuardThatIsLate:
    """Reports the beginning of a process only when it is asked for it, after the time of the process is over."""

    pid, alive = 1, True

    def __init__(self, inbox: SimpleQueue[Any]) -> None:
        self._inbox = inbox

    def run(self, number: int, request: RunRequest) -> None:
        """Accept the request but start nothing."""

    def ask(self, number: int) -> None:
        self._inbox.put(GuardEvent("started", {"id": number, "pid": 2**22 + 1}))
        self._inbox.put(GuardEvent("phase", {"id": number, "phase": "measuring"}))
        self._inbox.put(GuardEvent("stillness", {"id": number, **STILL}))

    def kill(self, number: int) -> None:
        self._inbox.put(GuardEvent("exited", {"id": number, "killed_by_us": True, "at": 0.0, **STILL}))


def test_what_the_guard_says_while_an_answer_is_awaited_is_not_lost(tmp_path: Path) -> None:
    inbox: SimpleQueue[Any] = SimpleQueue()
    clock, phases = FakeClock(datetime(2026, 1, 1, tzinfo=UTC)), list[str]()
    run = ProcessRun(
        cast(GuardProcess, GuardThatIsLate(inbox)),
        inbox=inbox,
        next_event=lambda _timeout_s: None,
        clock=clock,
        limit=TimeLimit(1.0, clock.monotonic()),
        where="repeat 1 of 1",
        on_phase=phases.append,
        on_tick=lambda: None,
        job_log=log_for(assignment("file:///m")),
        software=lambda: "",
    )
    with pytest.raises(DeadlineExceeded, match="killed in repeat 1 of 1 while measuring"):
        run.run(RunRequest("fake", "fake", {}, str(tmp_path / "record")))
    assert phases == ["starting", "measuring"]
