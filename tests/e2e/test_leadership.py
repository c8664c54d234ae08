"""Tests two watch processes: when the leader is killed, the other one takes over."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.schema import migrate
from shared.protocol import keys

ROOT = Path(__file__).parents[2]
PROMISE_S = 10.0
PATIENCE_S = 120.0  # this only stops a test that hangs; the machine may be busy


class Watches:
    """Starts as many processes of `python -m orchestrator.cli watch` as the test asks for."""

    def __init__(self, folder: Path, redis_url: str, database_url: str) -> None:
        mine = {"FLEETMARK_REDIS_URL": redis_url, "FLEETMARK_DATABASE_URL": database_url}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")}
        self._environment = kept | mine
        self._folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        with (self._folder / f"watch-{len(self.processes)}.log").open("wb") as log:
            command = [sys.executable, "-m", "orchestrator.cli", "watch"]
            self.processes.append(subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log))
        return self.processes[-1]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def watches(tmp_path: Path, redis_url: str) -> Iterator[Watches]:
    database_url = f"sqlite:///{tmp_path / 'fleetmark.db'}"
    store = Store(database_url)
    migrate(store)
    store.close()
    made = Watches(tmp_path, redis_url, database_url)
    yield made
    made.close()


@pytest.fixture
def registry(redis_url: str) -> Iterator[Registry]:
    made = Registry(redis_url, timeout_s=30)
    yield made
    made.close()


def _until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.alone
def test_when_the_leader_is_killed_another_watch_leads_within_ten_seconds(watches: Watches, registry: Registry) -> None:
    first = watches.start()
    _until(lambda: registry.monitor.leader() is not None)
    assert f"/{first.pid}/" in str(registry.monitor.leader())
    second = watches.start()
    _until(lambda: registry.monitor.counters().get("sweeps", 0) >= 2)
    longest_s = registry.redis.pttl(keys.LEADER) / 1000 + Settings().watch_sweep_s
    assert longest_s <= PROMISE_S, "what is left of the lease, and then the other one's next look"
    time.sleep(2 * Settings().watch_sweep_s)  # by then, the second watch has started and has looked at least once
    assert f"/{first.pid}/" in str(registry.monitor.leader()), "one leads"
    first.kill()
    _until(lambda: f"/{second.pid}/" in str(registry.monitor.leader()))
    sweeps = registry.monitor.counters()["sweeps"]
    _until(lambda: registry.monitor.counters()["sweeps"] > sweeps)
    assert registry.monitor.counters()["leaders_changed"] == 2
