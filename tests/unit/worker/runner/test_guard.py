"""The guard itself: it outlives every way in which its runners end, and says what became of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil
import pytest

from tests.measuring import schedule
from worker.runner.request import RunRequest, read_record
from worker.supervisor.guard_process import GuardEvent, GuardProcess


@pytest.fixture(params=["forked", "spawned"])
def guard(request: pytest.FixtureRequest) -> Iterator[tuple[GuardProcess, SimpleQueue[GuardEvent]]]:
    inbox: SimpleQueue[Any] = SimpleQueue()
    process = GuardProcess(inbox, spawn=request.param == "spawned")
    yield process, inbox
    process.close()


def ask(model: Path, record: Path) -> RunRequest:
    return RunRequest("fake", str(model), str(record), {}, inferences=2, warmup_min_calls=0, warmup_min_s=0, warmup_max_s=0)


def exits(inbox: SimpleQueue[GuardEvent], wanted: int) -> dict[int, dict[str, Any]]:
    seen: dict[int, dict[str, Any]] = {}
    while len(seen) < wanted:
        event = inbox.get(timeout=60)
        assert event.event != "lost", event.facts
        if event.event == "exited":
            seen[event.facts["id"]] = event.facts
    return seen


def test_it_outlives_runners_that_end_in_the_middle_of_a_line(guard: tuple[GuardProcess, SimpleQueue[GuardEvent]], tmp_path: Path) -> None:
    """Output, phases and the end of several runners come at once: none may be read after it was closed."""
    process, inbox = guard
    rounds, together = (8, 4) if process.spawned is False else (1, 4)
    talkative = schedule(tmp_path, prints="x" * 3000, then="exit:3", at_call=1)
    for turn in range(rounds):
        numbers = [turn * together + place for place in range(together)]
        for number in numbers:
            process.run(number, ask(talkative, tmp_path / f"{number}.record"))
        ended = exits(inbox, together)
        assert sorted(ended) == numbers
        assert {facts["code"] for facts in ended.values()} == {3}
        assert {len(facts["output"]) for facts in ended.values()} == {3000}
    assert process.alive


def test_a_kill_names_its_own_signal_and_touches_no_other_run(guard: tuple[GuardProcess, SimpleQueue[GuardEvent]], tmp_path: Path) -> None:
    process, inbox = guard
    process.run(1, ask(schedule(tmp_path, then="hang"), tmp_path / "1.record"))
    process.run(2, ask(schedule(tmp_path, load_s=0.3, calls_s=[0.001]), tmp_path / "2.record"))
    process.kill(1)
    process.kill(99)  # no such run: nothing happens
    ended = exits(inbox, 2)
    assert (ended[1]["signal"], ended[1]["killed_by_us"]) == (9, True)
    assert (ended[2]["code"], ended[2]["signal"]) == (0, None)
    record = read_record(tmp_path / "2.record")
    assert record is not None
    assert len(record.inference_ns) == 2


@pytest.mark.parametrize("spawn", [False, True], ids=["forked", "spawned"])
def test_neither_the_guard_nor_the_measured_process_is_given_a_credential(
    spawn: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = {"FLEETMARK_TOKEN": "t0ken", "FLEETMARK_TOKEN_FILE": "/t", "FLEETMARK_REDIS_URL": "redis://:pw@h:6379/0", "HF_TOKEN": "hf_1"}
    needed = {"LD_LIBRARY_PATH": "/opt/runtime/lib", "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "0"}
    for name, value in (secret | needed).items():
        monkeypatch.setenv(name, value)
    inbox: SimpleQueue[Any] = SimpleQueue()
    process = GuardProcess(inbox, spawn=spawn)
    try:
        process.run(1, ask(schedule(tmp_path, then="hang"), tmp_path / "1.record"))
        started = inbox.get(timeout=60)
        assert started.event == "started"
        measured = inbox.get(timeout=60)  # its first phase: it is up
        assert measured.event == "phase"
        for pid in (process.pid, started.facts["pid"]):
            environment = psutil.Process(pid).environ()
            assert not secret.keys() & environment.keys()
            assert environment.items() >= needed.items()
        process.kill(1)
        assert exits(inbox, 1)[1]["signal"] == 9
    finally:
        process.close()
