"""Packs the samples of one attempt into the file `telemetry.npz`, which the worker sends."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.samplers.looks import Looks


@dataclass
class Phase:
    """Says when a measured process began a phase, in monotonic seconds. An empty `where` means that no process runs."""

    at: float
    where: str
    index: int
    phase: str


def pack(looks: Looks, phases: Sequence[Phase]) -> bytes:
    """Return the samples as a compressed .npz file, in the format `shared.telemetry.TELEMETRY_FORMAT`."""
    import numpy as np  # imported here, because an idle worker does not need its 15 MB of memory

    from shared.telemetry import TELEMETRY_FORMAT, Header, PhaseTime

    begin = looks.times[0]
    header = Header(
        columns=tuple(looks.columns),
        phases=tuple(PhaseTime(at=one.at - begin, where=one.where, index=one.index, phase=one.phase) for one in without_voided(phases)),
        period_s=looks.period_s,
        started_at=looks.started_at,
        cpu_s=looks.cpu_s,
        ended=looks.ended,
    )
    file = io.BytesIO()
    np.savez_compressed(
        file,
        format=np.array(TELEMETRY_FORMAT, dtype=np.int64),
        header=np.frombuffer(header.model_dump_json().encode(), dtype=np.uint8),
        t=np.asarray(looks.times, dtype=np.float64) - begin,
        gap=np.asarray(looks.gaps, dtype=np.float64) > 0,
        values=np.array([np.asarray(values, dtype=np.float64) for values in looks.values]),
    )
    return file.getvalue()


def without_voided(phases: Sequence[Phase]) -> list[Phase]:
    """Return the phases, with a mark on those of a repeat that was measured again."""
    last = {(one.where, one.index): place for place, one in enumerate(phases) if one.phase == "starting"}
    return [
        replace(one, phase=f"{one.phase} (void)") if one.where and place < last.get((one.where, one.index), 0) else one
        for place, one in enumerate(phases)
    ]
