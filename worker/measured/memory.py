"""Reads the peak memory that the kernel records, separately for each phase. Nothing here polls.

On Linux the peak is `VmHWM` of /proc/self/status, the high-water mark of resident memory. Writing 5 to /proc/self/clear_refs resets it
to the current size (proc(5)). A forked child inherits its parent's mark. So the mark is reset before the load, and the resident
memory at that moment is the baseline. On other systems the mark cannot be reset.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

MB = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class MemoryMeter:
    """Reads the memory marks of this process. `method` says how they were obtained."""

    METHODS: ClassVar[dict[bool, str]] = {
        True: "VmHWM of the process, set back before the load and before the warm-up",
        False: "VmHWM of the process, which this kernel does not let us set back: the inference peak includes the load's",
    }

    def __init__(self) -> None:
        self._linux = _STATUS.exists()
        self._resettable = self._linux

    def start_phase(self) -> None:
        """Reset the high-water mark to the resident memory of now, if the kernel allows it."""
        if self._resettable:
            try:
                _CLEAR_REFS.write_text("5")
            except OSError:  # some sandboxes mount /proc read-only; `method` then says so
                self._resettable = False

    @property
    def method(self) -> str:
        if self._linux:
            return self.METHODS[self._resettable]
        if sys.platform == "win32":
            return "PeakWorkingSetSize of the process; the inference peak includes the load's"
        return "ru_maxrss of the process; the inference peak includes the load's"

    def resident_mb(self) -> float | None:
        """Return the memory that is resident now, in MB of 2^20 bytes. None on systems where only the peak is known."""
        return _field_mb("VmRSS:") if self._linux else None

    def peak_mb(self) -> float | None:
        """Return the peak of resident memory since the phase began, in MB of 2^20 bytes.

        If the mark cannot be reset, it is the peak since the process began.
        """
        if self._linux:
            return _field_mb("VmHWM:")
        if sys.platform == "win32":
            import psutil

            return float(psutil.Process().memory_info().peak_wset) / MB
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def _field_mb(name: str) -> float | None:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return None
