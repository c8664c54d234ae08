"""Where the lock of a host lies, so that every worker on it, whoever's it is, finds the same one."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from worker.hardware.surroundings import in_container, mount_points

NAME = "fleetmark-measure.lock"
# The first of these that everybody may write into. Whether *this* user may write does not decide, or two users would take two locks.
FOLDERS = {"win32": ("C:/ProgramData", "C:/Users/Public"), "darwin": ("/tmp",)}  # noqa: S108 - macOS has a TMPDIR for each user
LINUX_FOLDERS = ("/run/lock", "/var/lock", "/tmp")  # noqa: S108 - a lock holds no content that a link could divert


@dataclass(frozen=True)
class LockPlace:
    """The lock's file. `doubt` says why workers outside of this container may hold another one; empty where there is no doubt."""

    path: Path
    doubt: str = ""


def lock_place(given: Path | None, root: Path = Path("/")) -> LockPlace:
    """
    Args:
        given: the file that the worker's settings name; None for the host's own place.
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
    if shared and chosen != shared[0]:  # such as a service whose file system is read-only
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
    """Whether the file or its folder is a mount of its own, which somebody has brought into this container."""
    inside = Path("/") / path.relative_to(root) if path.is_relative_to(root) else path
    return bool({str(inside), str(inside.parent)} & mount_points(root))
