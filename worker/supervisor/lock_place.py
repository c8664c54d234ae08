"""Chooses the path of the host's lock file, so that all workers of a host use the same one, whichever user they run as."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from worker.hardware.surroundings import in_container, mount_points

NAME = "fleetmark-measure.lock"
# The lock is in the first of these folders that every user may write to. If each worker took the first folder that its own user may
# write to, two users could take two different locks. A worker that cannot write to that folder takes a later one and states a doubt.
FOLDERS = {"win32": ("C:/ProgramData", "C:/Users/Public"), "darwin": ("/tmp",)}  # noqa: S108 - on macOS each user has a TMPDIR of their own
LINUX_FOLDERS = ("/run/lock", "/var/lock", "/tmp")  # noqa: S108 - the lock file has no content, so a symbolic link could do no harm


@dataclass(frozen=True)
class LockPlace:
    """Holds the path of the lock file.

    `doubt` says why workers outside of this container may use another lock. It is empty when there is no doubt.
    """

    path: Path
    doubt: str = ""


def lock_place(given: Path | None, root: Path = Path("/")) -> LockPlace:
    """Return where the lock file is, and whether other workers may use another one.

    Args:
        given: The path from the worker's settings. None means the default place of the host.
        root: The root of the file system. Tests give another folder.
    """
    path, doubt = (given, "") if given is not None else _default(root)
    if in_container(root) and not _is_from_outside(path, root):
        doubt = (
            "a container with a lock of its own: another worker of this host may have measured at the same time "
            f"(share {path.parent} with the host)"
        )
    return LockPlace(path, doubt)


def _default(root: Path) -> tuple[Path, str]:
    folders = [root / folder.lstrip("/") for folder in FOLDERS.get(sys.platform, LINUX_FOLDERS)]
    shared = [folder for folder in folders if _everybody_writes(folder)]
    usable = [folder for folder in shared if (folder / NAME).exists() or os.access(folder, os.W_OK)]
    chosen = next(iter(usable or shared), folders[-1])
    doubt = ""
    if shared and chosen != shared[0]:  # for example a service with a read-only file system
        doubt = (
            f"{shared[0]} cannot be written to, so the lock is in {chosen}: another worker of this host may have measured at the same time"
        )
    return chosen / NAME, doubt


def _everybody_writes(folder: Path) -> bool:
    try:
        return folder.is_dir() and (sys.platform == "win32" or bool(folder.stat().st_mode & stat.S_IWOTH))
    except OSError:
        return False


def _is_from_outside(path: Path, root: Path) -> bool:
    """Return whether the file or its folder is a mount point, so that it was shared with this container from outside."""
    inside = Path("/") / path.relative_to(root) if path.is_relative_to(root) else path
    return bool({str(inside), str(inside.parent)} & mount_points(root))
