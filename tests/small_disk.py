"""Provides a disk that really fills up: a file system of a few megabytes. It works as root and as an ordinary user.

It is a tmpfs in its own mount namespace, which a helper process holds. Other processes reach it through that process's entry in /proc.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.servers import NOBODY

_MOUNT = 'mount -t tmpfs -o "size=$1m,mode=1777" tmpfs "$0" && shift && exec "$@"'


class SmallDisk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        """Fill the disk except for this many bytes."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        if leave_bytes:
            os.truncate(self._ballast, self._ballast.stat().st_size - leave_bytes)

    def free(self) -> None:
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a small file system over `folder`. It is used through `SmallDisk.path`, and every user may write to it.

    Raises:
        RuntimeError: this machine does not allow mounts, so the tests that need it cannot run there.
    """
    folder.mkdir(exist_ok=True)
    root = os.geteuid() == 0
    enter = ["unshare", "--mount"] if root else ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]
    # The holder has the user `nobody`, so that PostgreSQL, which does not run as root, may use its entry in /proc. It ends when our pipe
    # closes.
    hold = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "cat"] if root else ["cat"]
    command = [*enter, "sh", "-c", _MOUNT, str(folder), str(megabytes), *hold]
    with subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        with contextlib.suppress(BrokenPipeError):  # the holder has ended, so there is nothing to read
            holder.stdin.write(b"here\n")  # `cat` repeats this line when it runs and is no longer root; from then on every user may look in
        if holder.stdout.readline() != b"here\n":
            raise RuntimeError(
                f"no small file system could be mounted: {holder.stderr.read().decode().strip()}; run the tests as root (with "
                "CAP_SYS_ADMIN in a container), or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
            )
        try:
            yield SmallDisk(Path(f"/proc/{holder.pid}/root{folder}"))
        finally:
            holder.stdin.close()
