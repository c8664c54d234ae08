"""Lists the figures that can be compared, of all kinds of work, and says what a difference in each of them means."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.reports.sheets.base import Sheet
from orchestrator.reports.sheets.registry import known_sheets
from shared.errors import FieldError, InvalidInput, nearest
from shared.figures import Better, Figure
from shared.protocol.messages import Result

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
_SHEETS = known_sheets()
FIGURES: dict[str, Metric] = {name: Metric(name, kind.unit, kind.better) for sheet in _SHEETS for name, kind in sheet.figures.items()}
COMPARED = tuple(dict.fromkeys(name for sheet in _SHEETS for name in sheet.compared))  # a test needs one value per repeat


def figure_kind(name: str, sheet: Sheet | None = None) -> Metric:
    """Return the figure with this name.

    Args:
        sheet: the sheet of the kind of work that must have the figure; None for any kind.

    Raises:
        InvalidInput: there is none.
    """
    return FIGURES[_known(name, list(FIGURES if sheet is None else sheet.figures))]


def compared_figure(name: str, sheet: Sheet | None = None) -> Metric:
    """Return a figure that two campaigns can be compared by.

    Raises:
        InvalidInput: there is none with this name, or a single repeat has no such figure.
    """
    return FIGURES[_known(name, list(COMPARED if sheet is None else sheet.compared))]


def _known(name: str, known: list[str]) -> str:
    if name in known:
        return name
    if name in FIGURES:
        message = f"{name} has no value for each repeat, so no test can compare it; use one of {', '.join(known)}"
    else:
        message = f"there is no figure {name!r:.80}: {nearest(name, known)}"
    raise InvalidInput(f"metric: {message}", fields=[FieldError("query.metric", message)])


def figure_of(sheet: Sheet, result: Result, name: str) -> Figure | None:
    """Return one figure of a complete result, or None if it has none of this name."""
    outcome = sheet.outcome(result)
    return outcome.figure(name) if outcome is not None else None
