"""Peak memory as the kernel keeps it, phase by phase. Nothing here polls.

Linux: `VmHWM` of /proc/self/status, the high-water mark of resident memory, set back to the present size by writing
5 to /proc/self/clear_refs (proc(5)). A forked child starts with its parent's mark, so it is set back before the load,
and what was resident then is the baseline. Elsewhere the mark cannot be set back.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

MB = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class MemoryMeter:
    """Reads the marks of this process; `method` says how they came about."""

    METHODS: ClassVar[dict[bool, str]] = {
        True: "VmHWM of the process, set back before the load and before the warm-up",
        False: "VmHWM of the process, which this kernel does not let us set back: the inference peak includes the load's",
    }

    def __init__(self) -> None:
        self._linux = _STATUS.exists()
        self._resettable = self._linux

    def start_phase(self) -> None:
        """Set the high-water mark back to what is resident now, where the kernel can."""
        if self._resettable:
            try:
                _CLEAR_REFS.write_text("5")
            except OSError:  # some sandboxes mount /proc read-only; the method says so
                self._resettable = False

    @property
    def method(self) -> str:
        if self._linux:
            return self.METHODS[self._resettable]
        if sys.platform == "win32":
            return "PeakWorkingSetSize of the process; the inference peak includes the load's"
        return "ru_maxrss of the process; the inference peak includes the load's"

    def resident_mb(self) -> float | None:
        """Resident now, MB of 2^20 bytes; None where only the peak is known."""
        return _field_mb("VmRSS:") if self._linux else None

    def peak_mb(self) -> float | None:
        """The most that was resident since the phase began (since the process began, where the mark cannot be set back)."""
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
