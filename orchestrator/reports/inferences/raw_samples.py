"""Reads one series of a job's raw samples from `samples/<job_id>.npz`, in every format that a worker has written."""

from __future__ import annotations

import logging
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared.measurements import READABLE_SAMPLES

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20  # the limit of the unpacked arrays; a job with more than some million inferences is not drawn
# A damaged archive raises these errors: besides the zip errors, a broken stream (zlib), an unknown method or a password (RuntimeError and
# its child NotImplementedError), and a header that states more values than memory holds.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, OverflowError, RuntimeError, MemoryError, struct.error, zlib.error)
Series = NDArray[np.float64]


def read_repeats(folder: Path, job_id: str, series: str = "inference") -> list[Series]:
    """Return the samples of one series for each repeat, in milliseconds and in order. It is empty if there is no file that can be drawn.

    A worker sends the file apart from its result, so it may arrive after the campaign's files are written. A file that is damaged or has
    another format is left out, and the log says why.
    """
    path = folder / "samples" / f"{job_id}.npz"
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                    return []
            file.seek(0)
            return _read(file, series)
    except FileNotFoundError:
        return []
    except (*_DAMAGED, zipfile.BadZipFile) as error:
        log.warning("%s cannot be drawn: %s: %s", path, type(error).__name__, error)
        return []


def _read(file: BinaryIO, series: str) -> list[Series]:
    name_of_repeat = re.compile(rf"repeat_(\d+)_{re.escape(series)}_ns")
    with np.load(file, allow_pickle=False) as content:
        if (found_format := int(content["format"])) not in READABLE_SAMPLES:
            raise ValueError(f"it has format {found_format}; this version reads the formats {', '.join(map(str, READABLE_SAMPLES))}")
        found = {int(match[1]): content[name] for name in content.files if (match := name_of_repeat.fullmatch(name))}
        for index, values in found.items():
            if values.ndim != 1 or values.dtype.kind != "i":
                raise ValueError(f"repeat {index} is {values.dtype} with {values.ndim} dimensions, and not a list of whole nanoseconds")
        return [np.asarray(found[index], dtype=np.float64) / 1e6 for index in sorted(found) if found[index].size]
