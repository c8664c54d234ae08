"""Runs a command that must not outlive the process that started it (the starter). This script uses only the standard library.

    python -I -S tether.py GRACE_S [--log FILE MAX_BYTES KEPT] COMMAND…

Standard input is a pipe whose other end the starter holds. The pipe closes when the starter ends for any reason (normally, by a crash, or
by `kill -9`). Then, or on SIGTERM, the command gets SIGTERM. Its whole process group is killed when the command has ended, or after GRACE_S
seconds. On Linux, the kernel also kills the command if this process is killed. The exit status is that of the command.

With --log, the output of the command is appended to FILE. Before FILE gets larger than MAX_BYTES, it is renamed to FILE.1, FILE.1 to
FILE.2, and so on; KEPT of these are kept. So a log never takes more than MAX_BYTES × (KEPT + 1), whatever the command prints.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading

PIECE_BYTES = 65_536
LAST_WORDS_S = 2.0  # how long output is still read after the command has ended; a process that it started elsewhere may hold the pipe open
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


class Log:
    """Appends to a file of limited size. What cannot be written, because the disk is full, is lost: the command must not wait for it."""

    def __init__(self, file: str, max_bytes: int, kept: int) -> None:
        self._name, self._max_bytes, self._kept = file, max_bytes, kept
        self._lost = 0
        self._in_a_line = False

    def add(self, piece: bytes) -> None:
        try:
            if self._lost:
                piece = f"({self._lost} bytes of output are missing here: the log could not be written)\n".encode() + piece
            while piece:
                piece = self._add_a_part(piece)
        except OSError:
            self._lost += len(piece)
        else:
            self._lost = 0

    def _add_a_part(self, piece: bytes) -> bytes:
        """Write whole lines as far as the file has room, and turn it over when it is full. Return what is left."""
        size = os.stat(self._name).st_size if os.path.exists(self._name) else 0  # noqa: PTH110, PTH116 (pathlib takes long to import)
        room = self._max_bytes - size
        if len(piece) <= room:
            self._write(piece)
            return b""
        end = piece.rfind(b"\n", 0, max(room, 0)) + 1
        if end == 0 and (size == 0 or self._in_a_line):  # this line does not fit, but is not cut
            end = piece.find(b"\n") + 1 or len(piece)
        self._write(piece[:end])
        if not self._in_a_line:
            self._turn()
        return piece[end:]

    def _write(self, piece: bytes) -> None:
        if piece:
            self._in_a_line = not piece.endswith(b"\n")
        with open(self._name, "ab", buffering=0) as file:  # noqa: PTH123 (as above)
            while piece:
                piece = piece[file.write(piece) :]

    def _turn(self) -> None:
        for number in range(self._kept, 0, -1):
            older = f"{self._name}.{number}"
            newer = f"{self._name}.{number - 1}" if number > 1 else self._name
            with contextlib.suppress(FileNotFoundError):
                os.replace(newer, older)  # noqa: PTH105 (as above)


def _keep(output: int, log: Log) -> None:
    while piece := os.read(output, PIECE_BYTES):
        log.add(piece)


def main() -> int:
    grace_s, command = float(sys.argv[1]), sys.argv[2:]
    log, output, into = None, -1, None
    if command[0] == "--log":
        log = Log(command[1], int(command[2]), int(command[3]))
        command = command[4:]
        output, into = os.pipe()
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
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=into,
            stderr=into,
            start_new_session=True,
            preexec_fn=lambda: _die_with_the_tether(tether),
        )
    except OSError as error:
        words = f"{command[0]} cannot be started: {error}\n"
        if log is None:
            sys.stderr.write(words)
        else:
            log.add(words.encode())
        return 127
    reader = None
    if log is not None and into is not None:
        os.close(into)
        reader = threading.Thread(target=_keep, args=(output, log), daemon=True)
        reader.start()

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
    if reader is not None:
        reader.join(LAST_WORDS_S)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
