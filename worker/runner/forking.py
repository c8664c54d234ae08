"""Implements the guard on Linux: one thread that forks a fresh process for each repeat, with the runtimes already imported.

A forked child measures like a process that did its own imports, and saves their time. Before the fork, the guard never opens a
session and never touches a device.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from shared.clock import SystemClock
from worker.measured.request import RunRequest
from worker.runner.child import run_here
from worker.runner.guard import Reporter, Running, sample_once
from worker.runner.oom import oom_kills
from worker.runner.stillness import BEAT_S, StillnessWatch

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
BLOCK = 65_536
STRAYS_WITHIN_S = 5.0  # a killed process ends within milliseconds, unless it hangs in a driver
STRAYS_LOOK_S = 0.005


class ForkingGuard:
    """Owns the measured processes. One loop waits for commands, for the signal SIGCHLD and for the output of the processes."""

    def __init__(self, commands: int, reporter: Reporter) -> None:
        self._commands = commands
        self._reporter = reporter
        self._pending = b""
        self._runners: dict[int, Running] = {}  # keyed by process id
        self._watch = StillnessWatch(SystemClock())
        self._pipes: dict[int, list[int]] = {}
        self._held: dict[int, int] = {}  # what keeps the stdin of a process open, by its process id
        self._selector = selectors.PollSelector()  # not epoll, which refuses a stdin that is a file or /dev/null
        self._libc = ctypes.CDLL(None, use_errno=True)

    def serve(self) -> None:
        """Serve until the commands end or nobody reads the events. Then kill the processes that still run, with their process groups."""
        # Orphans of a runner become our children, so we can find and kill them even if they left its session.
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        woken, wake = os.pipe()
        for descriptor in (woken, wake, self._commands):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._selector.register(self._commands, selectors.EVENT_READ, self._read_commands)
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._reap(woken))
        gc.collect()
        gc.freeze()
        try:
            while self._commands in self._selector.get_map() and not self._reporter.unread:
                ready = self._selector.select(BEAT_S if self._runners else None)
                self._watch.look([runner for runner in self._runners.values() if not runner.samples])
                for key, _ in ready:
                    # A handler of this batch may have closed a later descriptor of the batch, and its number may be in use again.
                    known = self._selector.get_map().get(key.fd)
                    if known is not None and known.data is key.data:
                        key.data()
        finally:  # this also runs after a defect, because nobody else would end these processes
            for runner in list(self._runners.values()):
                self._kill(runner)
                os.waitpid(runner.pid, 0)
            self._kill_strays()

    def _read_commands(self) -> None:
        data = os.read(self._commands, BLOCK)
        if not data:
            self._selector.unregister(self._commands)
            return
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command["do"] == "run":
                request = RunRequest(**command["request"])
                self._start(command["id"], lambda request=request: run_here(request))  # type: ignore[misc]
                continue
            if command["do"] == "sample":
                sampling = command["request"]
                self._start(command["id"], lambda sampling=sampling: sample_once(sampling), held=True)  # type: ignore[misc]
                continue
            for runner in self._runners.values():
                if runner.id != command["id"]:
                    continue
                if command["do"] == "kill":
                    runner.killed_by_us = True
                    self._kill(runner)
                elif command["do"] == "ask":
                    self._reporter.stillness(runner)
                elif command["do"] == "end":
                    self._let_go(runner.pid)

    def _start(self, number: int, work: Callable[[], None], *, held: bool = False) -> None:
        """Fork a process that does some work.

        Args:
            held: Its stdin is a pipe that this process keeps open, until the command `end`.
        """
        kills, guard = oom_kills(), os.getpid()
        pipes: list[int] = []
        try:
            pipes += os.pipe()
            pipes += os.pipe()
            pipes += os.pipe() if held else ()
            with warnings.catch_warnings():
                # Importing onnxruntime leaves an idle telemetry thread, so Python 3.12 and later warn at each fork. The fork is
                # safe: that thread holds none of our locks, and no session is opened before the fork.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as error:  # too many processes (EAGAIN) or files, or too little memory
            for descriptor in pipes:
                os.close(descriptor)
            self._reporter.send("not_started", id=number, error=str(error))
            return
        phases_out, phases_in, output_out, output_in, *hold = pipes
        if pid == 0:
            self._become_runner(guard, work, phases_in, output_in, hold[0] if hold else None)
        os.close(phases_in)
        os.close(output_in)
        if hold:
            os.close(hold[0])
            self._held[pid] = hold[1]
        runner = Running(number, pid, oom_kills_before=kills, samples=held)
        self._runners[pid] = runner
        self._pipes[pid] = [phases_out, output_out]
        self._listen(phases_out, lambda data: self._reporter.phases(runner, data))
        self._listen(output_out, runner.output.feed)
        self._reporter.send("started", id=number, pid=pid)

    def _let_go(self, pid: int) -> None:
        """Close the stdin of a process that is held, so that it ends."""
        if (held := self._held.pop(pid, None)) is not None:
            os.close(held)

    def _become_runner(self, guard: int, work: Callable[[], None], phases: int, output: int, hold: int | None) -> None:
        """Measure or sample in the forked process, and end it. Never returns, so that no code of the guard runs here."""
        code = 70
        try:
            os.setsid()
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:  # the guard died before the line above
                os._exit(code)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY) if hold is None else hold, 0)
            os.dup2(phases, 1)
            os.dup2(output, 2)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - no exception may reach the guard's loop in the forked process
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(Exception):  # the engine may have closed stderr or replaced it by None
                sys.stderr.flush()
            os._exit(code)

    def _listen(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        os.set_blocking(descriptor, False)

        def read() -> None:
            with contextlib.suppress(BlockingIOError):
                data = os.read(descriptor, BLOCK)
                if data:
                    take(data)
                else:
                    self._selector.unregister(descriptor)

        self._selector.register(descriptor, selectors.EVENT_READ, read)

    def _reap(self, woken: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(woken, BLOCK)
        while True:
            try:
                # WNOWAIT leaves the zombie in place. Its process id is its group's id, so the group can still be killed.
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            runner = self._runners.get(ended.si_pid)
            if runner is None:  # an orphan of an earlier runner; its own children are our children now
                os.waitpid(ended.si_pid, 0)
                if not self._runners:
                    self._kill_strays()
            else:
                self._finish(runner)

    def _finish(self, runner: Running) -> None:
        self._kill(runner)
        _, status, usage = os.wait4(runner.pid, 0)
        del self._runners[runner.pid]
        self._let_go(runner.pid)
        for descriptor in self._pipes.pop(runner.pid):
            if descriptor in self._selector.get_map():
                key = self._selector.get_key(descriptor)
                # Read what was written before the end. Do not wait for the end of file: another process may still hold the pipe.
                for _ in range(16):
                    if descriptor in self._selector.get_map():
                        key.data()
                if descriptor in self._selector.get_map():
                    self._selector.unregister(descriptor)
            os.close(descriptor)
        self._kill_strays()
        code = os.waitstatus_to_exitcode(status)
        self._reporter.exited(
            runner,
            code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            max_rss_mb=usage.ru_maxrss / 1024,
            cpu_s=usage.ru_utime + usage.ru_stime,
        )

    def _kill(self, runner: Running) -> None:
        for kill in (os.kill, os.killpg):  # the group does not exist until the child has called setsid
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(runner.pid, signal.SIGKILL)

    def _kill_strays(self) -> None:
        """Kill the processes that an ended runner left in sessions of their own. They are our children now, because we are the subreaper.

        This repeats until none is left: when a stray dies, its own children become ours. It gives up after `STRAYS_WITHIN_S`, for example
        if a process hangs in the kernel, or if processes start others faster than they can be killed. The next call tries again.
        """
        clock = SystemClock()
        until = clock.monotonic() + STRAYS_WITHIN_S
        while (strays := self._strays()) and clock.monotonic() < until:
            for pid in strays:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            clock.sleep(STRAYS_LOOK_S)
            for pid in strays:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _strays(self) -> list[int]:
        """Return the process ids of our children that are not runners."""
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        try:
            pids = [int(pid) for pid in children.read_text().split()]
        except OSError:  # a kernel without CONFIG_PROC_CHILDREN
            import psutil

            pids = [child.pid for child in psutil.Process().children()]
        return [pid for pid in pids if pid not in self._runners]
