"""Reads the peak memory that the kernel records, separately for each phase. Nothing here polls.

On Linux the peak is `VmHWM` of /proc/self/status, the high-water mark of resident memory. Writing 5 to /proc/self/clear_refs resets it
to the current size (proc(5)). A forked child inherits its parent's mark. So the mark is reset before the load, and the resident
memory at that moment is the baseline. On other systems the mark cannot be reset.

A runtime may start processes of its own. `family` adds their marks to that of this process.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

MB = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class MemoryMeter:
    """Reads the memory marks of this process. `method` says how they were obtained.

    With `family`, the marks of the processes that descend from it are added where it has any (Linux only). The sum is at least what all of
    them held at one time: their peaks need not come together, and memory that they share counts for each.
    """

    METHODS: ClassVar[dict[bool, str]] = {
        True: "VmHWM of the process, set back before the load and before the warm-up",
        False: "VmHWM of the process, which this kernel does not let us set back: the inference peak includes the load's",
    }

    FAMILY = ", and of its {} child processes, added: their peaks need not come together, and shared memory counts for each"

    def __init__(self, *, family: bool = False) -> None:
        self._family, self._children = family, 0  # how many child processes were counted at most
        self._linux = _STATUS.exists()
        self._resettable = self._linux

    def start_phase(self) -> None:
        """Reset the high-water mark to the resident memory of now, if the kernel allows it."""
        if self._resettable:
            try:
                _CLEAR_REFS.write_text("5")
                for child in self._descendants():
                    (child / "clear_refs").write_text("5")
            except OSError:  # some sandboxes mount /proc read-only; `method` then says so
                self._resettable = False

    def _descendants(self) -> list[Path]:
        """Return the folders in /proc of the processes that descend from this one."""
        if not (self._family and self._linux):
            return []
        children: dict[str, list[Path]] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                    children.setdefault(parent, []).append(folder)
        found, waiting = [], [str(os.getpid())]
        while waiting:
            new = children.get(waiting.pop(), [])
            found += new
            waiting += [folder.name for folder in new]
        self._children = max(self._children, len(found))
        return found

    @property
    def method(self) -> str:
        if self._linux:
            return self.METHODS[self._resettable] + (self.FAMILY.format(self._children) if self._children else "")
        if sys.platform == "win32":
            return "PeakWorkingSetSize of the process; the inference peak includes the load's"
        return "ru_maxrss of the process; the inference peak includes the load's"

    def resident_mb(self) -> float | None:
        """Return the memory that is resident now, in MB of 2^20 bytes. None on systems where only the peak is known."""
        return _field_mb("VmRSS:", [_STATUS]) if self._linux else None

    def peak_mb(self) -> float | None:
        """Return the peak of resident memory since the phase began, in MB of 2^20 bytes.

        If the mark cannot be reset, it is the peak since the process began.
        """
        if self._linux:
            return _field_mb("VmHWM:", [_STATUS, *(child / "status" for child in self._descendants())])
        if sys.platform == "win32":
            import psutil

            return float(psutil.Process().memory_info().peak_wset) / MB
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def _field_mb(name: str, files: Sequence[Path]) -> float | None:
    """Return the sum of a field of several status files. A process that has ended meanwhile, or that has no memory, adds nothing."""
    found = []
    for file in files:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(line.split()[1]) / 1024 for line in file.read_text().splitlines() if line.startswith(name)]
    return sum(found) if found else None
