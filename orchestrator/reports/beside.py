"""Says what was sampled beside jobs: the cells of the CSV, why figures are missing, and one line about energy."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.measurements import Summary
from shared.telemetry import ENERGY, GPU_MEMORY, GPU_PERCENT, GPU_TEMPERATURE, POWER, read_beside, why_missing

# The columns of the CSV, with the figure that fills each, and the decimals that are kept (None for six digits).
COLUMNS: Mapping[str, tuple[str, int | None]] = {
    "GpuPercent": (GPU_PERCENT, 1),
    "GpuTemperatureMaxC": (GPU_TEMPERATURE, 1),
    "PowerWAverage": (POWER, 3),
    "EnergyJPerInference": (ENERGY, None),
    "PeakGpuMemoryMb": (GPU_MEMORY, 1),
}
SOURCE = "EnergySource"
MAX_REASONS = 20


@dataclass(frozen=True, slots=True)
class EnergyOf:
    """Holds what the report needs of one job: the energy of an inference, how it was found, and why columns are empty, by column."""

    joules: float | None = None
    source: str = ""
    missing: tuple[tuple[str, str], ...] = ()


def cells(summary: Summary) -> dict[str, str | float | None]:
    """Return the cells that telemetry fills. A figure that was not measured is an empty cell."""
    beside = read_beside(summary.beside)
    if beside is None:
        return dict.fromkeys((*COLUMNS, SOURCE))
    found: dict[str, str | float | None] = {column: _rounded(beside.value(name), decimals) for column, (name, decimals) in COLUMNS.items()}
    return found | {SOURCE: beside.energy.source or None}


def missing(summary: Summary) -> dict[str, str]:
    """Return why each of these columns is empty, for those that are."""
    why = why_missing(summary.beside)
    said = {column: why[name] for column, (name, _) in COLUMNS.items() if name in why}
    return said | ({SOURCE: why[ENERGY]} if ENERGY in why else {})


def energy_of(summary: Summary) -> EnergyOf:
    beside = read_beside(summary.beside)
    value = beside.value(ENERGY) if beside is not None else None
    # Many jobs have the same few reasons, so equal ones are stored once.
    why = tuple((column, sys.intern(reason)) for column, reason in missing(summary).items())
    return EnergyOf(value, beside.energy.source if beside is not None else "", why)


def gathered(jobs: Sequence[EnergyOf]) -> list[dict[str, object]]:
    """Return why columns are empty: each reason once, with the columns, and in how many jobs it is one. The most frequent come first."""
    counts: Counter[str] = Counter()
    columns: dict[str, dict[str, None]] = {}
    for job in jobs:
        counts.update({reason for _, reason in job.missing})
        for column, reason in job.missing:
            columns.setdefault(reason, {})[column] = None
    return [{"said": said, "columns": list(columns[said]), "jobs": count} for said, count in counts.most_common(MAX_REASONS)]


def energy_line(jobs: Sequence[EnergyOf]) -> str:
    """Return one sentence about the energy of the measured jobs, or an empty text if nothing was measured."""
    if not jobs:
        return ""
    known = [job for job in jobs if job.joules is not None]
    if known:
        least, most = (pick(job.joules or 0.0 for job in known) for pick in (min, max))
        size = f"{least:.3g} J" if f"{least:.3g}" == f"{most:.3g}" else f"{least:.3g} to {most:.3g} J"
        sources = " and ".join(sorted({job.source for job in known}))
        return f"An inference took {size} of energy in {len(known)} of {len(jobs)} jobs (source: {sources})."
    reasons = Counter(dict(job.missing).get("EnergyJPerInference", "") for job in jobs)
    said, count = reasons.most_common(1)[0]
    return f"Energy was not measured, in {count} of {len(jobs)} jobs because: {said}."


def _rounded(value: float | None, decimals: int | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}") if decimals is None else round(value, decimals)
