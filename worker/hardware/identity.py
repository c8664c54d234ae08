"""Keeps the identity of this device: a UDID that it generates once and stores on its disk.

It also proves that the previous worker process is dead. The state folder is locked while the process lives. So when the lock is ours,
the process that last wrote its incarnation there has ended. This holds only for the same lock file: a clone of the disk has another
boot id or inode. In that case the registry, not this module, finds out that two devices claim one identity.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from shared.clock import SystemClock
from shared.errors import Conflict
from worker.durable import write_durably

if sys.platform != "win32":  # without a lock there is no proof: after a crash the registry must wait for one heartbeat timeout
    import fcntl

IDENTITY_FILE = "identity.json"
LOCK_FILE = "worker.lock"
LOOKS, LOOK_S = 6, 0.05  # `lock_holder` holds the lock for microseconds, and for longer only if it is interrupted
FORMAT = 1
# 1: format, udid, incarnation (of the last process), place (boot id, device and inode of the lock file).


class IdentityError(Conflict):
    """Raised when the identity cannot be used: another worker uses the folder, or the file is damaged."""


@dataclass
class Identity:
    """Holds the device's identity, and keeps its folder locked until `close`."""

    udid: str
    incarnation: str
    previous_incarnation: str  # empty if it is not proved that its process has ended
    _lock: IO[str]

    @classmethod
    def claim(cls, folder: Path, incarnation: str) -> Identity:
        """Lock the folder, read the UDID (generated at the first start) and store this process's incarnation.

        Raises:
            IdentityError: Another living worker uses the folder, or the file does not contain an identity.
            OSError: The folder cannot be written to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder / LOCK_FILE)
        try:
            place = _place(lock)
            known = _read(folder / IDENTITY_FILE)
            udid = known.get("udid") or str(uuid.uuid4())
            same_place = bool(place) and known.get("place") == place
            previous = str(known.get("incarnation", "")) if same_place else ""
            write_durably(
                folder / IDENTITY_FILE,
                json.dumps({"format": FORMAT, "udid": udid, "incarnation": incarnation, "place": place}, indent=2).encode(),
            )
        except BaseException:
            lock.close()
            raise
        return cls(udid=udid, incarnation=incarnation, previous_incarnation=previous, _lock=lock)

    def close(self) -> None:
        """Release the folder, so that another process can use it."""
        self._lock.close()


def known_udid(folder: Path) -> str:
    """Return the UDID on this disk, or an empty string before the first start. Writes and locks nothing."""
    return str(_read(folder / IDENTITY_FILE).get("udid", ""))


def lock_holder(path: Path) -> str:
    """Return the process id of the living worker that uses this folder. Empty if there is none.

    It takes a shared lock for a moment, because the system offers no other way to ask. `Identity.claim` waits for that moment.
    """
    if sys.platform == "win32" or not path.exists():
        return ""
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read().strip()
    return ""


def _try_lock(lock: IO[str]) -> bool:
    """Lock the file. If another process holds the lock, wait a moment and return False."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        SystemClock().sleep(LOOK_S)
        return False
    return True


def _locked(path: Path) -> IO[str]:
    lock = path.open("a+")
    if sys.platform == "win32":
        return lock
    if not any(_try_lock(lock) for _ in range(LOOKS)):
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise IdentityError(
            f"another worker{f' (process {holder})' if holder else ''} already runs with the state folder {path.parent}; "
            "stop it, or give this one a folder of its own with FLEETMARK_WORKER_STATE_DIR"
        )
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _place(lock: IO[str]) -> str:
    """Return a text that identifies this file on this running machine. Empty if the system does not provide a boot id."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if sys.platform == "win32" or not boot.exists():
        return ""
    status = os.fstat(lock.fileno())
    return f"{boot.read_text().strip()}/{status.st_dev}/{status.st_ino}"


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise IdentityError(f"{path} is damaged ({error}); delete it, and this device registers as a new one") from error
    if not isinstance(known, dict) or known.get("format") != FORMAT or not known.get("udid"):
        raise IdentityError(f"{path} is no identity of format {FORMAT}; delete it, and this device registers as a new one")
    return known
