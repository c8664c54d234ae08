"""Runs a server that must not outlive the worker that started it. This script uses only the standard library.

    python -I -S keeper.py

The first line of standard input is JSON, see `worker.launchers.kept.Kept`. Then standard input stays open as long as the worker wants the
server; it also closes when the worker dies in any way. The server then gets its stop signal. When it has ended, or after `grace_s` seconds,
its process group and every process that it left behind are killed, `after` is run, the end of the log is written to standard output, and
the folders in `remove` are deleted. On Linux, the kernel kills the server if this process is killed. The exit status is that of the server.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

Plan = dict[str, Any]
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
AFTER_S = 30
IGNORED = (signal.SIGINT, signal.SIGTERM)  # only the end of standard input ends this script
LAST_BYTES = 4_000  # fits into a pipe that nobody reads


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value)


def _die_with(keeper: int) -> None:
    for number in IGNORED:  # what is ignored here would be ignored in the server, too
        signal.signal(number, signal.SIG_DFL)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:  # the keeper died between the fork and the call of prctl
        os.kill(os.getpid(), signal.SIGKILL)


def _children() -> list[int]:
    """Return the processes below this one. Those that a server left behind are among them, because this process is their subreaper."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:  # not Linux
        return []


def _kill_all(server: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()  # before the loop below could take its exit status
    while found := _children():
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _started(plan: Plan, log: BinaryIO, keeper: int) -> "subprocess.Popen[bytes] | None":
    """Return the process of the server, or None if it cannot be started. The log then says why."""
    process: subprocess.Popen[bytes]
    try:
        process = subprocess.Popen(
            plan["words"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=plan["folder"],
            env=plan["environment"],
            start_new_session=True,
            restore_signals=True,
            preexec_fn=lambda: _die_with(keeper),
            user=plan["user"],
            group=plan["user"],
            extra_groups=None if plan["user"] is None else [],
        )
    except OSError as error:
        log.write(f"{plan['words'][0]} cannot be started: {error}\n".encode())
        return None
    return process


def _leave(plan: Plan) -> None:
    """Write the end of the server's log to standard output, and delete what was made for the server."""
    with contextlib.suppress(OSError), Path(plan["log"]).open("rb") as log:  # the worker may have died, and the disk may be broken
        log.seek(max(0, Path(plan["log"]).stat().st_size - LAST_BYTES))
        os.write(1, log.read(LAST_BYTES))
    for folder in plan["remove"]:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    told = bytearray()
    while not told.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return 0  # the worker has died before it said anything
        told += byte
    plan = json.loads(told)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    keeper = os.getpid()
    with Path(plan["log"]).open("ab") as log:
        server = _started(plan, log, keeper)
    if server is None:
        _leave(plan)
        return 127
    woken, wake = os.pipe()
    threading.Thread(target=lambda: (server.wait(), os.write(wake, b"x")), daemon=True).start()
    try:
        ready, _, _ = select.select([0, woken], [], [])
        if woken not in ready:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, plan["stop_signal"])
            select.select([woken], [], [], plan["grace_s"])
    finally:
        _kill_all(server)
        if plan["after"]:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    plan["after"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=AFTER_S
                )
        _leave(plan)
    code: int = server.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
