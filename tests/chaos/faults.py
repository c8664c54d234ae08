"""Runs a plan of faults on a system. Each target has one thread, which runs its faults one after another."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil
import psycopg
import redis

from tests.chaos.plan import Fault, Plan
from tests.chaos.system import Part, System
from tests.chaos.user import User
from tests.measuring import samples
from tests.servers import PostgresServer, RedisServer

RUNNER_WITHIN_S = 5.0  # a worker between two jobs has no such process
SERVER_TRIES = 5  # PostgreSQL refuses to start while a process of the previous server still runs


class Chaos:
    """Runs the faults of a plan. `start` begins. `wait` returns when the last fault is over, and raises errors of this class's threads."""

    def __init__(self, system: System, plan: Plan) -> None:
        self._system, self._plan = system, plan
        self._called_off = threading.Event()
        self._errors: list[Exception] = []
        self.done: Counter[str] = Counter()  # faults by kind
        self.missed: list[Fault] = []  # the faults for which there was no process
        self.user = User(system, self._called_off)
        self._threads = [threading.Thread(target=self._go_through, args=(target,), name=target) for target in {f.target for f in plan}]
        self._begin = 0.0

    def start(self) -> None:
        self._begin = time.monotonic()
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise ExceptionGroup("the plan could not be carried out", self._errors)

    def call_off(self) -> None:
        """Start no more faults. Faults that have already started are completed, so that no process stays stopped."""
        self._called_off.set()
        for thread in self._threads:
            thread.join()

    def _go_through(self, target: str) -> None:
        try:
            for fault in (fault for fault in self._plan if fault.target == target):
                if self._called_off.wait(max(0.0, self._begin + fault.at_s - time.monotonic())):
                    return
                if self._act(fault):
                    self.done[fault.kind] += 1
                else:
                    self.missed.append(fault)
        except Exception as error:
            self._errors.append(error)

    def _act(self, fault: Fault) -> bool:
        part, _, number = fault.target.partition("-")
        if part == "redis":
            return _to_redis(self._system, fault)
        if part == "postgres":
            return _to_postgres(self._system, fault)
        if part == "job":
            return self.user.act(fault)
        if part in ("runner", "guard"):
            return _to_measuring(self._system.workers[int(number) - 1], part, fault)
        return _to_part(self._system.parts[fault.target], fault)


def _to_part(part: Part, fault: Fault) -> bool:
    if fault.kind == "stop":
        part.send(signal.SIGSTOP)
        time.sleep(fault.lasts_s)
        part.send(signal.SIGCONT)
        return True
    if fault.kind == "kill":
        part.kill()
        time.sleep(fault.lasts_s)
    else:
        part.terminate(fault.lasts_s)
    part.start()
    return True


def _to_measuring(worker: Part, which: str, fault: Fault) -> bool:
    until = time.monotonic() + RUNNER_WITHIN_S
    while time.monotonic() < until:
        for process in _measuring(worker, which):
            with suppress(psutil.Error):  # the process has just ended, so take the next one
                process.send_signal(signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP)
                if fault.kind == "stop":
                    time.sleep(fault.lasts_s)
                    with suppress(psutil.Error):  # the worker or the plan has killed it in the meantime
                        process.send_signal(signal.SIGCONT)
                return True
        time.sleep(0.005)
    return False


def _measuring(worker: Part, which: str) -> list[psutil.Process]:
    """Return a worker's guard, or the process that measures at this moment, which is the guard's child."""
    if not worker.alive:
        return []
    with suppress(psutil.Error):
        guards = [child for child in psutil.Process(worker.pid).children() if "worker.runner" in " ".join(child.cmdline())]
        return guards if which == "guard" else [runner for guard in guards for runner in guard.children() if not samples(runner.pid)]
    return []


def _to_redis(system: System, fault: Fault) -> bool:
    server = system.redis_server
    assert server.process is not None
    if fault.kind == "cut":
        for pause_s in (fault.lasts_s, 0):
            with suppress(redis.ConnectionError):  # this closes the connection, too
                system.redis.client_kill_filter(_type="normal", skipme=False)
            with suppress(redis.ConnectionError):
                system.redis.client_kill_filter(_type="pubsub", skipme=False)
            time.sleep(pause_s)
    elif fault.kind == "stop":
        _stop([psutil.Process(server.process.pid)], fault.lasts_s)
    elif fault.kind == "flush":
        for pause_s in (fault.lasts_s, 0):
            system.redis.flushall()
            time.sleep(pause_s)
    elif fault.kind == "full":
        for limit, pause_s in ((1, fault.lasts_s), (0, 0)):
            system.redis.config_set("maxmemory", limit)
            time.sleep(pause_s)
    elif fault.kind == "restore":
        _restore(server, fault.lasts_s)
    else:
        server.stop(signal.SIGKILL)
        if fault.kind == "wipe":
            shutil.rmtree(server.folder / "appendonlydir")
        time.sleep(fault.lasts_s)
        _until_it_starts(server.start)
    return True


def _restore(server: RedisServer, age_s: float) -> None:
    file, kept = server.folder / "appendonlydir", server.folder / "kept"
    shutil.copytree(file, kept)
    time.sleep(age_s)
    server.stop(signal.SIGKILL)
    shutil.rmtree(file)
    kept.rename(file)
    _until_it_starts(server.start)


def _to_postgres(system: System, fault: Fault) -> bool:
    server = system.postgres
    url, family = system.database_url.replace("+psycopg", ""), _family(server)
    if fault.kind == "cut":
        for pause_s in (fault.lasts_s, 0):
            _cut_off(url)
            time.sleep(pause_s)
    elif fault.kind == "readonly":
        for value, pause_s in (("on", fault.lasts_s), ("off", 0)):
            with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
                connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
                connection.execute("SELECT pg_reload_conf()")
            _cut_off(url)
            time.sleep(pause_s)
    elif fault.kind == "lock":
        _lock(url, fault.lasts_s)
    elif fault.kind == "stop":
        _stop(family, fault.lasts_s)
    elif fault.kind == "restore":
        kept = server.folder / "kept"
        _bring_down(server, family)
        subprocess.run(["cp", "-a", server.data, kept], check=True)
        _until_it_starts(server.start)
        time.sleep(fault.lasts_s)
        _bring_down(server, _family(server))
        shutil.rmtree(server.data)
        kept.rename(server.data)
        _until_it_starts(server.start)
    else:
        if fault.kind == "kill":  # a loss of power ends all processes of the machine, so kill all of them
            for process in family:
                with suppress(psutil.Error):
                    process.kill()
        _bring_down(server, family)
        time.sleep(fault.lasts_s)
        _until_it_starts(server.start)
    return True


def _family(server: PostgresServer) -> list[psutil.Process]:
    assert server.process is not None
    main = psutil.Process(server.process.pid)
    return [main, *main.children(recursive=True)]


def _bring_down(server: PostgresServer, family: list[psutil.Process]) -> None:
    server.stop(signal.SIGQUIT)
    psutil.wait_procs(family, timeout=10)


def _cut_off(url: str) -> None:
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(others)


def _lock(url: str, lasts_s: float) -> None:
    while True:
        with (
            suppress(psycopg.errors.DeadlockDetected),
            psycopg.connect(url) as connection,
        ):  # on a deadlock with a client that holds a row, try again
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
            connection.execute(f"LOCK TABLE {', '.join(name for (name,) in tables)} IN ACCESS EXCLUSIVE MODE".encode())
            time.sleep(lasts_s)
            return


def _stop(processes: Iterable[psutil.Process], lasts_s: float) -> None:
    stopped = list(processes)
    for number, pause_s in ((signal.SIGSTOP, lasts_s), (signal.SIGCONT, 0)):
        for process in stopped:
            with suppress(psutil.Error):  # one of the many processes of a server has ended
                process.send_signal(number)
        time.sleep(pause_s)


def _until_it_starts(start: Callable[[], None]) -> None:
    for tries_left in reversed(range(SERVER_TRIES)):
        try:
            start()
        except (psycopg.OperationalError, redis.RedisError):
            if not tries_left:
                raise
            time.sleep(0.5)
        else:
            return
