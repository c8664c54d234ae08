"""Tests that a worker needs nothing that Windows or macOS lacks.

Each system is imitated in a process that cannot import what the system lacks.
"""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import shared
import worker

ROOT = Path(worker.__file__).resolve().parent.parent
# These modules and names exist only on Linux, or do not exist on Windows.
NOT_ON_WINDOWS = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog")
NAMES_NOT_ON_WINDOWS = {
    "os": (
        *("fork", "forkpty", "killpg", "setsid", "getuid", "geteuid", "getgid", "mkfifo", "waitid", "wait4", "getloadavg", "statvfs"),
        *("sched_getaffinity", "sched_setaffinity", "getpgid", "setpgid", "nice", "sysconf", "uname", "fchown", "chown"),
    ),
    "signal": ("SIGKILL", "SIGHUP", "SIGCHLD", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "SIGQUIT", "pause", "alarm", "setitimer"),
    "select": ("poll", "epoll"),
    "time": ("clock_gettime", "CLOCK_MONOTONIC", "CLOCK_BOOTTIME"),
}
NAMES_NOT_ON_MACOS = {"os": ("sched_getaffinity", "sched_setaffinity", "waitid"), "select": ("epoll",), "time": ("CLOCK_BOOTTIME",)}
SYSTEMS = {"win32": (NOT_ON_WINDOWS, NAMES_NOT_ON_WINDOWS), "darwin": ((), NAMES_NOT_ON_MACOS)}
# Libraries of other projects are imported first, with everything that Linux has. Only our own modules must do without it.
LIBRARIES = "import celery, kombu, redis, httpx, psutil, numpy, pydantic, pydantic_settings, onnxruntime, typer, rich, asyncio, tempfile"
IMITATION = """
import importlib, importlib.abc, os, select, signal, sys, time, ctypes, shutil, socket, selectors, threading, logging, logging.handlers
import multiprocessing, concurrent.futures, http.server, socketserver, zipfile, lzma, bz2, pathlib, glob, platform, uuid, hashlib
{libraries}
import celery.app.base, celery.worker, celery.apps.worker, kombu.transport.redis, celery.concurrency.thread, celery.bin.celery

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {modules!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
for module, names in {names!r}.items():
    for name in names:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
sys.platform = {system!r}
if sys.platform == "win32":
    sys.modules["msvcrt"] = type(sys)("msvcrt")  # Windows has it, and it is imported there
"""
LINUX_ALONE = {"worker.runner.forking"}  # the guard of Linux; the other systems use `worker.runner.spawning`


def like(system: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that looks like another system to our own modules."""
    modules, names = SYSTEMS[system]
    whole = IMITATION.format(libraries=LIBRARIES, modules=modules, names=names, system=system) + code
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")}
    return subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{whole}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )


def own_modules() -> list[str]:
    found = []
    for package in (shared, worker):
        found += [one.name for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    # These modules import a runtime that is not installed here. Their own tests import them.
    runtimes = ("worker.engines.torch", "worker.engines.torch_exported", "worker.engines.torch_script", "worker.engines.torch_types")
    return [name for name in found if name not in LINUX_ALONE and name not in (*runtimes, "worker.engines.coreml_model")]


@pytest.mark.parametrize("system", ["win32", pytest.param("darwin", marks=pytest.mark.long)])
def test_every_module_of_a_worker_is_imported_without_what_the_system_lacks(system: str) -> None:
    names = own_modules()
    assert len(names) > 120
    done = like(system, f"for name in {names!r}: importlib.import_module(name)\nprint('all', len({names!r}))")
    assert (done.returncode, done.stdout.strip()) == (0, f"all {len(names)}"), done.stderr[-3000:]


@pytest.mark.parametrize("system", ["win32", pytest.param("darwin", marks=pytest.mark.long)])
@pytest.mark.parametrize("command", ["start", *(pytest.param(name, marks=pytest.mark.long) for name in ("validate", "test", "info"))])
def test_the_commands_of_a_worker_start(system: str, command: str) -> None:
    words = [command, "--help"]
    done = like(system, f"from worker.cli import main; sys.argv = ['worker', *{words!r}]\nmain()")
    assert (done.returncode, "Usage" in done.stdout) == (0, True), done.stderr[-3000:]


def test_every_name_that_is_taken_away_is_one_that_this_system_has() -> None:
    """Otherwise a misspelt name would hide nothing."""
    import importlib

    for _, names in SYSTEMS.values():
        for module, missing in names.items():
            for name in missing:
                assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("system", ["win32", pytest.param("darwin", marks=pytest.mark.long)])
def test_a_process_that_measures_runs_to_its_end(system: str, tmp_path: Path) -> None:
    """This is what the guard of these systems starts: a new interpreter with one request."""
    (tmp_path / "schedule.json").write_text('{"calls_s": [0.001]}')
    code = f"""
from worker.runner import child
from worker.measured.request import RunRequest
from worker.runner.record_file import read_record
if sys.platform == "win32":
    import psutil
    known = psutil.Process.memory_info  # Windows has the peak here
    from types import SimpleNamespace
    psutil.Process.memory_info = lambda self: SimpleNamespace(peak_wset=known(self).rss)
    child.run_here.__globals__["_refuse_core_dump"]()
from pathlib import Path
folder = Path({str(tmp_path)!r})
spec = {{"kind": "inference", "inferences": 5, "options": {{}}}}
inputs = {{"model": str(folder / "schedule.json")}}
child.measure(RunRequest("inference", "fake", spec, str(folder / "one.record"), inputs, warmup_min_calls=1), lambda phase: None)
print(len(read_record(folder / "one.record", 0).series["inference"].values))
"""
    done = like(system, code)
    assert (done.returncode, done.stdout.strip()) == (0, "5"), done.stderr[-3000:]
