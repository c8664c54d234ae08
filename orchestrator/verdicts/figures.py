"""Lists the figures that can be compared, of all kinds of work, and says what a difference in each of them means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.facts import Fact, fact_text, runtime_of
from orchestrator.reports.hardware.triad import FIGURES_OF_TRIAD, TRIAD_BY
from orchestrator.reports.sheets.base import Sheet
from orchestrator.reports.sheets.registry import known_sheets
from shared import telemetry
from shared.errors import FieldError, InvalidInput, nearest_few
from shared.figures import Better, Figure
from shared.protocol.messages import Result
from shared.scorers.registry import figure_of_a_package

_TIMES = frozenset({"ns", "us", "ms", "s"})
_SIZES = frozenset({"MB", "bytes"})


@dataclass(frozen=True, slots=True)
class Metric:
    """Names the figure that jobs are compared by."""

    name: str
    unit: str
    better: Better

    @property
    def worse(self) -> str:
        """Return the word for a worse value, in sentences such as "4 % slower"."""
        if self.better == "higher":
            return "lower"
        return "slower" if self.unit in _TIMES else "larger" if self.unit in _SIZES else "higher"


INFERENCE = "inference_ms"
LISTED_AT = "docs/reference/figures.md"
_SHEETS = known_sheets()
_KINDS = (*(sheet.figures for sheet in _SHEETS), telemetry.FIGURES)
FIGURES: dict[str, Metric] = {name: Metric(name, kind.unit, kind.better) for kinds in _KINDS for name, kind in kinds.items()}
# What was sampled beside a measurement has one value for the whole job, except for the energy, which each repeat has.
SAMPLED = (telemetry.ENERGY,)
COMPARED = (*dict.fromkeys(name for sheet in _SHEETS for name in sheet.compared), *SAMPLED)  # a test needs one value per repeat


def _energy_of(job: JobRecord, _work: Any) -> str | None:
    """Return what the energy of a job is of, and how it was found, such as `counter (rapl_package_0_j)`."""
    beside = runtime_of(job).get(telemetry.RUNTIME_KEY)
    energy = beside.get("energy") if isinstance(beside, dict) else None
    if not isinstance(energy, dict) or not energy.get("source"):
        return None
    return fact_text(f"{energy['source']} ({energy.get('of')})")


# Two energies are compared only if the same source measured them: one source may see the memory, and another the whole device.
ENERGY_SOURCE = Fact("energy_source", "for a comparison by energy: what measured it, and how", _energy_of)
_OF_FIGURES: tuple[tuple[tuple[Fact, ...], Sequence[str]], ...] = (((ENERGY_SOURCE,), SAMPLED), ((TRIAD_BY,), FIGURES_OF_TRIAD))
FACTS_OF_FIGURES = tuple(fact for facts, _ in _OF_FIGURES for fact in facts)  # those that belong to single figures


def facts_for(metric: Metric) -> tuple[Fact, ...]:
    """Return the facts that must be equal for this figure, besides those of the kind of work."""
    return next((facts for facts, names in _OF_FIGURES if metric.name in names), ())


def figure_kind(name: str, sheet: Sheet | None = None) -> Metric:
    """Return the figure with this name, of our own or of a scorer that another package brings.

    Args:
        sheet: the sheet of the kind of work that must have the figure; None for any kind.

    Raises:
        InvalidInput: there is none.
    """
    if name not in FIGURES and (kind := figure_of_a_package(name)) is not None:
        return Metric(name, kind.unit, kind.better)
    return FIGURES[_known(name, FIGURES if sheet is None else (*sheet.figures, *telemetry.FIGURES), sheet)]


def compared_figure(name: str, sheet: Sheet | None = None) -> Metric:
    """Return a figure that two campaigns can be compared by.

    Raises:
        InvalidInput: there is none with this name, or a single repeat has no such figure.
    """
    return FIGURES[_known(name, COMPARED if sheet is None else (*sheet.compared, *SAMPLED), sheet)]


def _known(name: str, known: Iterable[str], sheet: Sheet | None = None) -> str:
    names = list(known)
    if name in names:
        return name
    others = nearest_few(name, names, LISTED_AT)
    if name not in FIGURES and figure_of_a_package(name) is None:
        message = f"there is no figure {name!r:.80}: {others}"
    elif sheet is not None and name not in {**sheet.figures, **telemetry.FIGURES}:
        message = f"{name} is a figure of another kind of work than these campaigns measured: {others}"
    else:
        message = f"{name} has no value for each repeat, so no test can compare it: {others}"
    raise InvalidInput(f"metric: {message}", fields=[FieldError("query.metric", message)])


def figure_of(sheet: Sheet, result: Result, name: str) -> Figure | None:
    """Return one figure of a complete result, or None if it has none of this name."""
    outcome = sheet.outcome(result)
    return outcome.figure(name) if outcome is not None else None
