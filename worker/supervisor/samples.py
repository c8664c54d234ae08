"""Raw samples as a file: `shared.measurements.SAMPLES_FORMAT`."""

from __future__ import annotations

import io
from collections.abc import Sequence

from shared.measurements import SAMPLES_FORMAT, RawRepeat


def pack(repeats: Sequence[RawRepeat], extra_loads_ns: Sequence[int]) -> bytes:
    """A compressed .npz of int64 nanoseconds, one dimension each; warm-ups apart from the timed inferences."""
    import numpy as np  # 15 MB resident that an idle worker does not need

    arrays = {"format": np.array(SAMPLES_FORMAT, dtype=np.int64), "extra_load_ns": np.array(extra_loads_ns, dtype=np.int64)}
    for repeat in repeats:
        prefix = f"repeat_{repeat.index}"
        arrays[f"{prefix}_load_ns"] = np.array([repeat.load_ns], dtype=np.int64)
        arrays[f"{prefix}_warmup_ns"] = np.asarray(repeat.warmup_ns, dtype=np.int64)
        arrays[f"{prefix}_inference_ns"] = np.asarray(repeat.inference_ns, dtype=np.int64)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy types `**kwds` as its flag `allow_pickle` too
    return file.getvalue()
