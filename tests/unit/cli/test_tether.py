from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cli.parts import TETHER, Part
from shared.clock import SystemClock

# This program writes its own id and that of a child, and then waits. With `deaf`, it ignores SIGTERM.
FAMILY = """
import os, signal, subprocess, sys, time
if sys.argv[2] == "deaf": signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1] + ".part", "w") as file: file.write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""


def _wait(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _family(file: Path) -> list[int]:
    _wait(file.exists)
    return [int(pid) for pid in file.read_text().split()]


def _start(grace_s: float, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-S", str(TETHER), str(grace_s), *command], stdin=subprocess.PIPE)


@pytest.mark.parametrize("manner", ["polite", "deaf"])
def test_a_command_and_its_children_end_when_the_starter_lets_go(tmp_path: Path, manner: str) -> None:
    tether = _start(0.3, sys.executable, "-c", FAMILY, str(tmp_path / "pids"), manner)
    family = _family(tmp_path / "pids")
    assert tether.stdin is not None
    tether.stdin.close()
    tether.wait(timeout=10)
    _wait(lambda: not any(_alive(pid) for pid in family))


def test_kill_9_of_the_starter_leaves_nothing_behind(tmp_path: Path) -> None:
    script = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-I", "-S", {str(TETHER)!r}, "0.3", sys.executable, "-c", sys.argv[1], sys.argv[2], "polite"],
                 stdin=subprocess.PIPE, start_new_session=True)
time.sleep(600)
"""
    starter = subprocess.Popen([sys.executable, "-c", script, FAMILY, str(tmp_path / "pids")])
    family = _family(tmp_path / "pids")
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    _wait(lambda: not any(_alive(pid) for pid in family))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a kernel that ends children with their parent")
def test_kill_9_of_the_tether_ends_the_command_too(tmp_path: Path) -> None:
    tether = _start(5, sys.executable, "-c", FAMILY, str(tmp_path / "pids"), "deaf")
    command, child = _family(tmp_path / "pids")
    tether.kill()
    tether.wait()
    assert tether.stdin is not None
    tether.stdin.close()
    _wait(lambda: not _alive(command))
    os.kill(child, signal.SIGKILL)  # the tether ends only the command; the command must end its own children


@pytest.mark.parametrize(("code", "expected"), [("import sys; sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_exit_status_is_the_commands(code: str, expected: int) -> None:
    tether = _start(1, sys.executable, "-c", code)
    assert tether.wait(timeout=20) == expected
    assert tether.stdin is not None
    tether.stdin.close()


def test_a_command_that_is_not_there_is_said_in_one_line() -> None:
    tether = subprocess.run(
        [sys.executable, "-I", "-S", str(TETHER), "1", "/no/such/program"], check=False, stdin=subprocess.PIPE, capture_output=True
    )
    assert tether.returncode == 127
    assert b"/no/such/program cannot be started" in tether.stderr
    assert b"Traceback" not in tether.stderr


def test_a_part_that_ends_while_starting_shows_its_last_words(tmp_path: Path) -> None:
    from cli.errors import PartFailed

    part = Part("oracle", [sys.executable, "-c", "print('the port is cursed')"], dict(os.environ), tmp_path / "oracle.log", SystemClock())
    part.start()
    with pytest.raises(PartFailed, match=r"oracle ended while starting[\s\S]*the port is cursed"):
        part.wait_until(lambda: False)
    part.stop()


def test_stopping_a_part_twice_is_harmless(tmp_path: Path) -> None:
    part = Part("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], dict(os.environ), tmp_path / "log", SystemClock())
    part.start()
    assert part.is_running()
    part.stop()
    assert not part.is_running()
    part.stop()


def _log(file: Path, max_bytes: int, kept: int, *command: str) -> int:
    """Run a command with its output in a log, and return its exit status."""
    tether = _start(1, "--log", str(file), str(max_bytes), str(kept), *command)
    code = tether.wait(timeout=20)
    assert tether.stdin is not None
    tether.stdin.close()
    return code


def test_output_is_appended_to_files_of_limited_size_and_no_line_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "part.log"
    file.write_text("of an earlier start\n")
    lines = "import sys\nfor i in range(600): sys.stdout.write(f'line {i:05d}\\n'); sys.stdout.flush()"
    assert _log(file, 2_000, 2, sys.executable, "-c", lines) == 0
    files = [tmp_path / "part.log.2", tmp_path / "part.log.1", file]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    kept = "".join(each.read_text() for each in files).splitlines()
    assert kept == [f"line {number:05d}" for number in range(600 - len(kept), 600)]
    assert all(0 < each.stat().st_size <= 2_000 for each in files)
    assert len(kept) > 400


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    said = tmp_path / "said"
    code = f"import sys\nfor i in range(5000): print('x' * 100)\nopen({str(said)!r}, 'w').write('went on')"
    assert _log(tmp_path / "no folder" / "log", 1_000, 1, sys.executable, "-c", code) == 0
    assert said.read_text() == "went on"


def test_what_a_part_said_at_an_earlier_start_is_not_taken_for_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "oracle.log"
    for words in ("the first start", '{"time": "12:00", "level": "error", "logger": "worker", "message": "the second", "error": "why"}'):
        part = Part("oracle", [sys.executable, "-c", f"print({words!r})"], dict(os.environ), log, SystemClock())
        part.start()
        _wait(lambda part=part: not part.is_running())  # type: ignore[misc]  # the default value binds the part
        failure = part.failure("ended").detail
        part.stop()
    assert "the first start" in log.read_text()
    assert failure.splitlines()[1:] == ["  12:00 ERROR   worker: the second", "  why"]
