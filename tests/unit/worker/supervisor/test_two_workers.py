"""Tests that two workers on one host never measure at the same time, and that a killed worker leaves no process behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from shared.clock import SystemClock
from shared.workers import WAITING_FOR_HOST
from tests.file_server import file_server
from tests.measuring import Stages, assignment, descendants, is_gone, schedule, supervisor
from worker.job_log import JobLog
from worker.supervisor import Outcome
from worker.supervisor.heavy_work import HeavyWork
from worker.supervisor.host_lock import HostLock
from worker.supervisor.host_turn import HostTurn

# This program is a worker's process as far as measuring is concerned. It makes one attempt at a job that hangs.
WORKER = """
import sys
from pathlib import Path
from tests.measuring import assignment, schedule, supervisor

folder = Path(sys.argv[1])
with supervisor(folder, spawn=sys.argv[2] == "spawned") as made:
    when = {"loading": {"when": "load"}, "warming up": {"at_call": 1}, "measuring": {"at_call": 4}}[sys.argv[3]]
    model = schedule(folder, then="hang", note_pid_in=str(folder / "pids"), **when)
    made.run(assignment(model), lambda stage, progress: print(stage, flush=True))
"""

# This program is the same, but its model starts a child and a grandchild in a session of their own and continues.
FATHERING = """
import sys
from pathlib import Path
from tests.measuring import NO_WARMUP, assignment, schedule, supervisor

folder = Path(sys.argv[1])
with supervisor(folder) as made:
    model = schedule(folder, then="spawn:family", at_call=0, pid_file=sys.argv[2], sleeps_s=[0.1])
    made.run(assignment(model, inferences=10_000, warmup=NO_WARMUP), lambda stage, progress: print(stage, flush=True))
"""


def noted(pids: Path) -> set[int]:
    return {int(pid) for pid in pids.read_text().split()} if pids.exists() else set()


@pytest.mark.parametrize(
    ("mode", "phase"),
    [("forked", "loading"), ("forked", "warming up"), ("forked", "measuring"), ("spawned", "loading"), ("spawned", "measuring")],
)
def test_a_worker_killed_with_9_leaves_no_process(tmp_path: Path, mode: str, phase: str) -> None:
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", WORKER, str(tmp_path), mode, phase]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as worker:
        assert worker.stdout is not None
        assert any(phase in line for line in iter(worker.stdout.readline, ""))
        family = descendants(worker.pid)
        assert len(family) == 3  # these are the guard, its runner, and the process that samples beside it
        assert set(family) >= noted(tmp_path / "pids")  # a runner that is still loading may not have noted itself
        os.kill(worker.pid, signal.SIGKILL)
    assert all(is_gone(pid) for pid in family)


def test_a_worker_killed_with_9_leaves_no_family_of_its_models_either(tmp_path: Path) -> None:
    pids = tmp_path / "family"
    command = [sys.executable, "-c", FATHERING, str(tmp_path), str(pids)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4]) as worker:
        assert worker.stdout is not None
        assert any("measuring" in line for line in iter(worker.stdout.readline, ""))
        until = time.monotonic() + 60
        while len(noted(pids)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(worker.pid, signal.SIGKILL)
    family = noted(pids)
    assert len(family) == 2
    assert all(is_gone(pid) for pid in family)


def test_two_supervisors_take_turns(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    outcomes: dict[str, Outcome] = {}
    noted = tmp_path / "pids"

    with supervisor(tmp_path / "a", lock=lock) as first, supervisor(tmp_path / "b", lock=lock) as second:
        first_work = assignment(schedule(tmp_path, then="hang", at_call=4))
        second_work = assignment(schedule(tmp_path, calls_s=[0.001], note_pid_in=str(noted)))
        measuring, waiting = threading.Event(), threading.Event()

        def run_first() -> None:
            outcomes["first"] = first.run(first_work, lambda stage, _: measuring.set() if "measuring" in stage else None)

        def run_second() -> None:
            outcomes["second"] = second.run(second_work, lambda stage, _: waiting.set() if stage.startswith("waiting") else None)

        threads = [threading.Thread(target=run_first), threading.Thread(target=run_second)]
        threads[0].start()
        assert measuring.wait(30)
        threads[1].start()
        assert waiting.wait(30)
        assert not noted.exists()  # no process of the second worker has started
        first.stop(first_work.job_id, 1, "cancelled")
        for thread in threads:
            thread.join()
    assert outcomes["first"].status == "cancelled"
    assert outcomes["second"].status == "complete"
    assert outcomes["second"].timings_s["wait_for_lock"] > 0


def test_waiting_for_another_worker_can_be_called_off(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    give_back = HostLock(lock).take(lambda _: None)
    stages = Stages()
    with supervisor(tmp_path / "a", lock=lock) as waiter:
        work = assignment(schedule(tmp_path, calls_s=[0.001]))

        def stop_when_waiting(stage: str, progress: float | None) -> None:
            stages(stage, progress)
            if stage.startswith("waiting"):
                waiter.stop(work.job_id, 1, "handed_back")

        assert waiter.run(work, stop_when_waiting).status == "handed_back"
        assert "waiting for another measurement on this host" in stages.names()
        give_back()
        # The turn that was given up is not kept, so the next attempt gets the lock.
        assert waiter.run(assignment(schedule(tmp_path, calls_s=[0.001])), Stages()).status == "complete"


def test_an_attempt_that_waits_twice_for_the_same_worker_says_so_twice(tmp_path: Path) -> None:
    """The attempt waits before it hashes its model and before it measures.

    The orchestrator extends the deadline of a job only because of this stage.
    """
    neighbour, stages = HostLock(tmp_path / "lock"), Stages()
    turn = HostTurn(HostLock(tmp_path / "lock"), 60, SystemClock(), stages, JobLog(("campaign-job-1", 1), SystemClock()))
    inbox: SimpleQueue[Any] = SimpleQueue()

    def told(*, shared: bool) -> list[str]:
        give_back = neighbour.take(lambda _: None)
        looks = 0
        stages.seen.clear()

        def next_event(timeout_s: float) -> Any:
            nonlocal looks
            looks += 1
            if looks == 2:  # the attempt has looked once
                give_back()
            try:
                return inbox.get(timeout=timeout_s)
            except Empty:
                return None

        turn.take(inbox, next_event, shared=shared)()
        return stages.names()

    assert told(shared=True) == [WAITING_FOR_HOST]
    assert told(shared=False) == [WAITING_FOR_HOST]


def test_what_another_worker_measured_meanwhile_is_no_load_just_before(tmp_path: Path) -> None:
    give_back = HostLock(tmp_path / "lock").take(lambda _: None)
    with supervisor(tmp_path / "a", lock=tmp_path / "lock") as waiter:
        windows: list[float] = []
        before = waiter._probe.before

        def watched(*arguments: Any) -> None:
            look = waiter._probe._window_start()
            windows.append(time.monotonic() - look.at if look else 0.0)
            before(*arguments)

        waiter._probe.before = watched  # type: ignore[method-assign, assignment]  # this is the only way to see how far back it looks

        def end_neighbour(stage: str, _: float | None) -> None:
            if stage == WAITING_FOR_HOST:
                threading.Timer(2, give_back).start()

        outcome = waiter.run(assignment(schedule(tmp_path, calls_s=[0.001])), end_neighbour)
    assert outcome.status == "complete"
    assert 0 < windows[0] < 1, windows


@pytest.mark.parametrize("at", range(1, 5))
def test_a_caller_that_takes_over_a_place_in_the_queue_gets_the_lock_that_it_asked_for(tmp_path: Path, at: int) -> None:
    """A download gives up its place at any moment while the lock becomes free, and a measurement takes it over."""
    lock, mine = HostLock(tmp_path / "lock"), threading.Event()
    neighbour = HostLock(tmp_path / "lock").take(lambda _: None)
    lock.take(lambda _: None, shared=True)()  # this call waits and then gives up, but its thread stays in the queue
    entered = 0

    class Watched:
        """Wraps the lock's state. Before the waiting thread enters it for the chosen time, the measurement asks for the lock."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __enter__(self) -> None:
            nonlocal entered
            if threading.current_thread().name == "fleetmark-host-lock":
                entered += 1
                if entered == at:
                    lock.take(lambda _: mine.set())
            self._inner.acquire()

        def __exit__(self, *_: object) -> None:
            self._inner.release()

    lock._state = Watched(lock._state)  # type: ignore[assignment]
    neighbour()
    if not mine.wait(1):  # the thread did not enter so often
        lock.take(lambda _: mine.set())
    assert mine.wait(10)
    with (tmp_path / "lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # no download may run beside a measurement
    lock._give_back()


def test_the_lock_is_one_for_every_user_of_the_host(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    HostLock(path).take(lambda _: None)()
    assert path.stat().st_mode & 0o777 == 0o666
    path.chmod(0o444)  # the file of another user may be opened only for reading
    taken: list[str] = []
    give_back = HostLock(path).take(lambda _: taken.append("first"))
    assert taken == ["first"]
    give_back()


def test_a_lock_given_back_goes_to_the_one_that_waits(tmp_path: Path) -> None:
    path, turns = tmp_path / "lock", []
    second_has_it = threading.Event()
    first = HostLock(path).take(lambda _: turns.append("first"))
    second = HostLock(path).take(lambda _: second_has_it.set())
    assert turns == ["first"]
    assert not second_has_it.is_set()
    first()
    assert second_has_it.wait(10)
    second()
    HostLock(path).take(lambda _: turns.append("third"))()
    assert turns == ["first", "third"]


# This program is another worker's process as far as the lock is concerned. It holds the lock until its standard input ends.
NEIGHBOUR = """
import sys
from pathlib import Path
from worker.supervisor.host_lock import HostLock

HostLock(Path(sys.argv[1])).take(lambda _: print("measuring", flush=True), shared=sys.argv[2] == "shared")
sys.stdin.read()
"""


@contextmanager
def neighbour(lock: Path, *, shared: bool = False) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", NEIGHBOUR, str(lock), "shared" if shared else "alone"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "measuring\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_patience_with_a_neighbour_ends_and_the_job_says_for_whom_it_waited(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    work = assignment(schedule(tmp_path, calls_s=[0.001]))
    with supervisor(tmp_path / "a", lock=lock, host_wait_s=0.2) as made:
        with neighbour(lock) as holder:
            threads = threading.active_count()
            for _ in range(3):
                outcome = made.run(work, Stages())
                assert (outcome.status, outcome.error_kind) == ("failed", "host_busy")
                assert f"process {holder.pid} (" in outcome.error
                assert f"holds {lock}" in outcome.error
            assert threading.active_count() <= threads + 1, "one that gave up leaves its place to the next"
        assert made.run(work, Stages()).status == "complete"


def test_with_a_neighbour_that_was_stopped_the_patience_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.supervisor.host_turn.STOPPED_PATIENCE_S", 0.2)
    lock = tmp_path / "lock"
    work = assignment(schedule(tmp_path, calls_s=[0.001]))
    with supervisor(tmp_path / "a", lock=lock) as made, neighbour(lock) as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        outcome = made.run(work, Stages())
        assert (outcome.status, outcome.error_kind) == ("failed", "host_busy")
        assert ", stopped) holds" in outcome.error


def test_a_lock_that_anybody_holds_is_waited_for_no_longer(tmp_path: Path) -> None:
    """Everyone who may open the file may lock it, also a program that knows nothing about workers."""
    lock = tmp_path / "lock"
    lock.touch(0o666)
    work = assignment(schedule(tmp_path, calls_s=[0.001]))
    with supervisor(tmp_path / "a", lock=lock, host_wait_s=0.2) as made, lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = made.run(work, Stages())
        assert (outcome.status, outcome.error_kind) == ("failed", "host_busy")
        assert f"process {os.getpid()} (" in outcome.error


def test_a_lock_that_cannot_be_opened_is_the_devices_failure_with_what_to_do(tmp_path: Path) -> None:
    lock = tmp_path / "missing" / "lock"
    work = assignment(schedule(tmp_path, calls_s=[0.001]))
    with supervisor(tmp_path / "a", lock=lock) as made:
        outcome = made.run(work, Stages())
        assert (outcome.status, outcome.error_kind) == ("failed", "worker_error")
        assert "FLEETMARK_WORKER_LOCK_FILE" in outcome.error
        lock.parent.mkdir()
        assert made.run(work, Stages()).status == "complete"


def test_a_wait_that_comes_to_an_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system may have no locks left."""

    def lock(_descriptor: int, *, shared: bool = False, wait: bool) -> bool:
        if wait:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        return False

    with supervisor(tmp_path / "a") as made:
        with monkeypatch.context() as patched:
            patched.setattr("worker.supervisor.host_lock._lock", lock)
            outcome = made.run(assignment(schedule(tmp_path, calls_s=[0.001])), Stages())
        assert (outcome.status, outcome.error_kind) == ("failed", "worker_error")
        assert "No locks available" in outcome.error
        assert made.run(assignment(schedule(tmp_path, calls_s=[0.001])), Stages()).status == "complete"


def test_a_neighbours_heavy_work_goes_on_beside_ours_and_not_beside_a_measurement(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with neighbour(lock, shared=True) as other:
        ours = HostLock(lock)
        taken, measured = threading.Event(), threading.Event()
        ours.take(lambda _: taken.set(), shared=True)()
        assert taken.is_set()
        give_back = ours.take(lambda _: measured.set())
        assert not measured.is_set()
        holder = ours.holder()
        assert holder is not None
        assert (holder.pid, holder.measures) == (other.pid, False)
        other.kill()
        assert measured.wait(10)
        give_back()


def test_a_measurement_is_not_overtaken_by_heavy_work_that_comes_later(tmp_path: Path) -> None:
    """Otherwise, downloads that follow each other on many workers would block the measurement for ever."""
    lock, order = tmp_path / "lock", []
    measures, works = threading.Event(), threading.Event()

    def begin(what: str, begun: threading.Event) -> Callable[[OSError | None], None]:
        def note(_failure: OSError | None) -> None:
            order.append(what)
            begun.set()

        return note

    first = HostLock(lock).take(begin("first work", threading.Event()), shared=True)
    worker = HostLock(lock)
    end_measuring = HostLock(lock).take(begin("measurement", measures))
    until = time.monotonic() + 10
    while not worker.is_wanted() and time.monotonic() < until:
        time.sleep(0.005)
    end_working = worker.take(begin("later work", works), shared=True)
    assert order == ["first work"]
    first()
    assert measures.wait(10)
    assert not works.is_set()
    end_measuring()
    assert works.wait(10)
    end_working()
    assert order == ["first work", "measurement", "later work"]


def test_heavy_work_lets_a_measurement_in_and_goes_on_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker hashes gigabytes, and a process of a neighbour wants to measure in the meantime. This happens three times."""
    monkeypatch.setattr("worker.supervisor.heavy_work.SLICE_S", 0.05)
    lock = HostLock(tmp_path / "lock")
    ours = threading.Event()

    def take() -> Callable[[], None]:
        ours.clear()
        give_back = lock.take(lambda _: ours.set(), shared=True)
        assert ours.wait(30)
        return give_back

    heavy, clock = HeavyWork(lock, take, SystemClock()), SystemClock()
    command = [sys.executable, "-c", MEASURES_THRICE, str(lock.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4]) as process:
        pieces = []
        while process.poll() is None:
            heavy.step()
            begin = clock.monotonic()
            time.sleep(0.002)
            pieces.append((begin, clock.monotonic()))
        assert process.stdout is not None
        measured = [tuple(map(float, line.split())) for line in process.stdout]
    heavy.close()
    assert len(measured) == 3
    for begin, end in measured:
        assert not [piece for piece in pieces if piece[0] < end and piece[1] > begin], "worked while the neighbour measured"
        assert [piece for piece in pieces if piece[0] >= end], "went on after it"


MEASURES_THRICE = """
import sys, threading, time
from pathlib import Path
from worker.supervisor.host_lock import HostLock

lock = HostLock(Path(sys.argv[1]))
for _ in range(3):
    ours = threading.Event()
    give_back = lock.take(lambda _: ours.set())
    assert ours.wait(30)
    begin = time.monotonic()
    time.sleep(0.2)
    print(begin, time.monotonic(), flush=True)
    give_back()
"""


def test_a_neighbour_measures_while_a_fetch_waits_for_a_stalled_server(tmp_path: Path) -> None:
    lock, stages = tmp_path / "lock", Stages()
    stall, ours, fetched = threading.Event(), threading.Event(), threading.Event()
    content = json.dumps({"calls_s": [0.001]}).encode()
    outcomes: list[Outcome] = []
    with file_server(schedule__json=content) as server, supervisor(tmp_path / "a", lock=lock) as made:
        server.stall = stall

        def run() -> None:
            outcomes.append(made.run(assignment(f"{server.url}/schedule.json"), stages))
            fetched.set()

        worker = threading.Thread(target=run)
        worker.start()
        try:
            until = time.monotonic() + 10
            while not list((tmp_path / "a").glob("cache/partial/*.json")) and time.monotonic() < until:
                time.sleep(0.01)  # wait until the first half of the body has arrived
            give_back = HostLock(lock).take(lambda _: ours.set())
            assert ours.wait(5), "the server stalls for 20 s"
            stall.set()
            assert not fetched.wait(0.5), "the second half waits until the neighbour has measured"
            give_back()
        finally:
            stall.set()
            worker.join(30)
    assert outcomes[0].status == "complete", outcomes[0].error


def test_a_fetch_waits_for_a_neighbour_that_measures(tmp_path: Path) -> None:
    """Hashing a model of gigabytes uses a whole core, so even the first block has to wait."""
    lock, stages = tmp_path / "lock", Stages()
    work = assignment(schedule(tmp_path, calls_s=[0.001]))
    with supervisor(tmp_path / "a", lock=lock, host_wait_s=0.3) as made:
        with neighbour(lock):
            outcome = made.run(work, stages)
            assert (outcome.status, outcome.error_kind) == ("failed", "host_busy")
            assert "measure" not in outcome.timings_s
            assert outcome.model_sha256 is None  # the model was not read
        assert made.run(work, stages).status == "complete"
