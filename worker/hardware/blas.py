"""Asks the BLAS library of numpy what it is and which kernels it really uses.

`numpy.show_config` says what numpy was built with. Only the loaded library knows which processor's kernels it has chosen.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# OpenBLAS has these functions under the names of its build: plain, with 64-bit integers, and as in numpy's own wheels.
_NAMES = tuple((before, after) for before in ("scipy_", "") for after in ("64_", ""))


@dataclass(frozen=True)
class Blas:
    """Describes a BLAS library. A value is empty or None if the library does not tell it."""

    name: str
    version: str
    core: str = ""  # the processor whose kernels it uses
    config: str = ""
    threads: int | None = None
    file: str = ""


def read_blas() -> Blas:
    """Return what numpy's BLAS says about itself. numpy must have been imported before, because that loads the library."""
    import numpy as np

    built: Any = np.show_config(mode="dicts")
    of_build = built.get("Build Dependencies", {}).get("blas", {})
    for path in _candidates(Path(np.__file__).parent):
        found = _ask(path)
        if found is not None:
            return found
    return Blas(str(of_build.get("name", "unknown")), str(of_build.get("version", "")))


def _candidates(package: Path) -> Iterator[str]:
    """Yield the BLAS libraries that numpy brings, then those that this process has loaded."""
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        yield from (str(file) for file in sorted(folder.glob("*openblas*")))
    with contextlib.suppress(OSError):
        mapped = {
            line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "blas" in line.rpartition("/")[2].lower()
        }
        yield from sorted(mapped)


def _ask(path: str) -> Blas | None:
    """Return what OpenBLAS says. None if the file is another library."""
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return None
    for before, after in _NAMES:
        config, core, threads = (
            getattr(library, f"{before}openblas_get_{what}{after}", None) for what in ("config", "corename", "num_threads")
        )
        if config is not None:
            said = _text(config)
            return Blas("OpenBLAS", [*said.split(), "", ""][1], _text(core), said, int(threads()) if threads else None, Path(path).name)
    return None


def _text(function: Any) -> str:
    if function is None:
        return ""
    function.restype = ctypes.c_char_p
    return str((function() or b"").decode(errors="replace")).strip()
