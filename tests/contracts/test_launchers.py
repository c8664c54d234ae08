"""Tests that every launcher keeps its promises: what it starts gets healthy, tells what it wrote, and leaves nothing behind.

No engine of containers is installed here. A program with the name of one stands in for it: it starts the server of the "image" in the
foreground, as `docker run` does, and keeps a list of what it was told.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared.errors import DeviceFailed, EngineUnavailable
from tests.servers import free_port
from worker.launchers.base import Server
from worker.launchers.registry import LAUNCHERS, resolve
from worker.services.base import NotHealthy, Place
from worker.services.fake import PROGRAM, FakeService

ENGINES = ("docker", "podman", "apptainer")
CASES = ("process", "fake", *ENGINES)
# The command line ends in the arguments of the image, which are `serve PORT` for the fake service.
ENGINE = f"""#!{sys.executable} -IS
import json, os, sys
with open(os.path.join(os.path.dirname(__file__), "told.jsonl"), "a") as told:
    told.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "run":
    words = [{sys.executable!r}, "-I", "-S", "-c", {PROGRAM!r}, sys.argv[-1], "redis://:s3cret@host here", LIVES, "yes"]
    os.execv(words[0], words)
"""


@dataclass
class Case:
    """Says how a launcher is tried: its name, the settings of the service and those of the launcher."""

    name: str
    own: dict[str, Any]
    settings: dict[str, Any]
    folder: Path
    port: int

    def start(self) -> Server:
        self.folder.mkdir(exist_ok=True)
        return resolve(self.name).start(FakeService(), self.settings, Place(self.port, self.folder), self.own)


Make = Callable[[str, float], Case]
SAYS = "redis://:s3cret@host here"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def made(name: str, lives_s: float) -> Case:
        own: dict[str, Any] = {}
        if name in ENGINES:
            programs = tmp_path / "bin"
            programs.mkdir()
            (programs / name).write_text(ENGINE.replace("LIVES", repr(str(lives_s))))
            (programs / name).chmod(0o755)
            monkeypatch.setenv("PATH", str(programs))
            own = {"image": "fake:1"}
        if name == "fake":
            own = {"says": SAYS, "lives_s": lives_s}
        return Case("container" if name in ENGINES else name, own, {"says": SAYS, "lives_s": lives_s}, tmp_path / "server", free_port())

    return made


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def running(make: Make, name: str) -> Iterator[tuple[Case, Server]]:
    case = make(name, 60.0)
    server = case.start()
    yield case, server
    server.stop()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_healthy(case: Case) -> bool:
    try:
        FakeService().health(case.settings, case.port)
    except NotHealthy:
        return False
    return True


def test_every_launcher_is_tried_here_and_the_fake_ships() -> None:
    assert set(LAUNCHERS) == {"process", "container", "fake"}
    with pytest.raises(EngineUnavailable, match="did you mean 'container'"):
        resolve("containers")


def test_it_says_what_will_run(make: Make, name: str) -> None:
    case = make(name, 1.0)
    said = resolve(case.name).check(FakeService(), case.own)
    assert said == {"process": "fake 1", "fake": "fake 1 in a thread"}.get(name, f"fake:1 ({name})")


def test_what_it_starts_gets_healthy_and_tells_what_it_wrote_without_logins(running: tuple[Case, Server]) -> None:
    case, server = running
    wait_until(lambda: is_healthy(case))
    assert server.alive
    assert server.exit_code is None
    wait_until(lambda: "host here" in server.output())
    assert "s3cret" not in server.output()


def test_nothing_is_left_after_a_stop_which_may_come_twice(running: tuple[Case, Server]) -> None:
    case, server = running
    wait_until(lambda: is_healthy(case))
    below = psutil.Process(server.pid).children(recursive=True) if server.pid else []
    server.stop()
    server.stop()
    assert not server.alive
    assert server.exit_code not in (None, 0)
    assert not is_healthy(case)
    assert not any(process.is_running() for process in below)
    assert not case.folder.exists()
    assert "host here" in server.output(), "its last words are known after its end"


def test_a_server_that_ends_by_itself_is_not_alive_and_its_exit_code_is_known(make: Make, name: str) -> None:
    server = make(name, 0.1).start()
    wait_until(lambda: not server.alive)
    assert server.exit_code == 3
    assert "host here" in server.output()
    server.stop()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_told_to_remove_a_container_that_it_keeps_itself(make: Make, engine: str) -> None:
    case = make(engine, 60.0)
    server = case.start()
    wait_until(lambda: is_healthy(case))
    server.stop()
    told = (Path(os.environ["PATH"]) / "told.jsonl").read_text()
    assert ('"rm", "--force"' in told) == (engine != "apptainer")
    assert f'"{case.port}"' in told


def test_what_cannot_run_here_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="no program that runs containers is on this device"):
        resolve("container").check(FakeService(), {"image": "fake:1"})
    with pytest.raises(EngineUnavailable, match="not on this one"):
        resolve("fake").check(FakeService(), {"refuse": "not on this one"})
    with pytest.raises(DeviceFailed, match="it broke"):
        resolve("fake").start(FakeService(), {}, Place(1, tmp_path), {"fail": "it broke"})
    with pytest.raises(DeviceFailed, match="cannot be prepared"):
        resolve("process").start(FakeService(), {"prepare_fails": True}, Place(1, tmp_path), {})
