"""Says what was sampled beside jobs: why figures are missing, and one line about energy."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.reports.sampled import ENERGY_SOURCE, SAMPLED
from shared.figures import Figure
from shared.protocol.messages import Result
from shared.telemetry import ENERGY, why_missing

MAX_REASONS = 20


@dataclass(frozen=True, slots=True)
class EnergyOf:
    """Holds what the report needs of one job: the energy of an inference, how it was found, and why columns are empty, by column."""

    joules: float | None = None
    source: str = ""
    missing: tuple[tuple[str, str], ...] = ()


def missing(result: Result) -> dict[str, str]:
    """Return why each column of the CSV that samplers fill is empty, for those that are."""
    why = why_missing(_figures(result))
    said = {column: why[name] for name, (column, _) in SAMPLED.items() if name in why}
    return said | ({"EnergySource": why[ENERGY]} if ENERGY in why else {})


def energy_of(result: Result) -> EnergyOf:
    value = next((figure.value for figure in _figures(result) if figure.name == ENERGY), None)
    # Many jobs have the same few reasons, so equal ones are stored once.
    why = tuple((column, sys.intern(reason)) for column, reason in missing(result).items())
    return EnergyOf(value, str(result.runtime.get(ENERGY_SOURCE, "")), why)


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


def _figures(result: Result) -> Sequence[Figure]:
    """Return the figures that samplers took: they are beside those of an inference, and among those of every other kind of work."""
    if result.summary is not None:
        return result.summary.figures
    return result.outcome.figures if result.outcome is not None else ()
