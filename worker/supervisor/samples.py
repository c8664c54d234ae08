"""Packs the raw samples of a job into one file, in the format `shared.measurements.SAMPLES_FORMAT`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.measurements import SAMPLES_FORMAT
from shared.series import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pack(repeats: Sequence[Record], loads: Sequence[Record], loading: str) -> bytes:
    """Return a compressed .npz file with one array for each series of each repeat.

    Args:
        loads: The records of the further processes that only made the work ready. Their values are joined, in order of time.
        loading: The series of those records. Its array is there even if no such process ran. Empty if this kind of work has none.
    """
    import numpy as np  # imported here, because an idle worker does not need its 15 MB of memory

    arrays: dict[str, NDArray[np.int64]] = {"format": np.array(SAMPLES_FORMAT, dtype=np.int64)}
    for index, record in enumerate(repeats):
        for series in record.series.values():
            arrays[f"repeat_{index}_{series.name}_{series.unit}"] = np.asarray(series.values, dtype=np.int64)
    if loading:
        further = [value for record in loads for value in record.series[loading].values]
        arrays[f"extra_{loading}_{repeats[0].series[loading].unit}"] = np.array(further, dtype=np.int64)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub applies the type of `allow_pickle` to `**kwds`, too
    return file.getvalue()
