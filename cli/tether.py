"""Runs a command that must not outlive the process that started it (the starter). This script uses only the standard library.

    python -I -S tether.py GRACE_S COMMAND…

Standard input is a pipe whose other end the starter holds. The pipe closes when the starter ends for any reason (normally, by a crash, or
by `kill -9`). Then, or on SIGTERM, the command gets SIGTERM. Its whole process group is killed when the command has ended, or after GRACE_S
seconds. On Linux, the kernel also kills the command if this process is killed. The exit status is that of the command.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def _die_with_the_tether(tether: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != tether:  # the tether died between the fork and the call of prctl
            os.kill(os.getpid(), signal.SIGKILL)


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the group has ended; macOS raises the second error then
        os.killpg(group, signal.SIGKILL)


def main() -> int:
    grace_s, command = float(sys.argv[1]), sys.argv[2:]
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ignored in (signal.SIGINT, signal.SIGHUP):  # the starter handles these and decides when to stop
        signal.signal(ignored, signal.SIG_IGN)
    tether = os.getpid()
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=lambda: _die_with_the_tether(tether))
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error}\n")
        return 127

    pipe_open = True
    while child.poll() is None and pipe_open and not stopping:
        ready, _, _ = select.select([0, wake_read], [], [], 5)
        if wake_read in ready:
            os.read(wake_read, 4096)
        if 0 in ready and not os.read(0, 4096):
            pipe_open = False
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_s)
    _end_group(child.pid)
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
