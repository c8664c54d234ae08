"""Packs the raw samples of a job into one file, in the format `shared.measurements.SAMPLES_FORMAT`."""

from __future__ import annotations

import io
from collections.abc import Sequence

from shared.measurements import SAMPLES_FORMAT, RawRepeat


def pack(repeats: Sequence[RawRepeat], extra_loads_ns: Sequence[int]) -> bytes:
    """Return a compressed .npz file of one-dimensional int64 arrays in nanoseconds. Warm-ups and timed inferences are separate arrays."""
    import numpy as np  # imported here, because an idle worker does not need its 15 MB of memory

    arrays = {"format": np.array(SAMPLES_FORMAT, dtype=np.int64), "extra_load_ns": np.array(extra_loads_ns, dtype=np.int64)}
    for repeat in repeats:
        prefix = f"repeat_{repeat.index}"
        arrays[f"{prefix}_load_ns"] = np.array([repeat.load_ns], dtype=np.int64)
        arrays[f"{prefix}_warmup_ns"] = np.asarray(repeat.warmup_ns, dtype=np.int64)
        arrays[f"{prefix}_inference_ns"] = np.asarray(repeat.inference_ns, dtype=np.int64)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub applies the type of `allow_pickle` to `**kwds`, too
    return file.getvalue()
