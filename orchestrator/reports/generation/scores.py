"""Reads the scores of a job from its outcome. It knows no scorer, so those of other packages are treated like ours."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.reports.columns import Row, rounded
from shared.figures import Figure, Outcome

SCORES = "scores"  # the key in the detail of an outcome
DIGITS = 9
TEXT_DIGITS = 6  # significant digits of a number in the cell with all scores


def scores_of(outcome: Outcome) -> list[Figure]:
    """Return the figures of the scorers, in the order of the recipe's `evaluate` and then of the figures of a scorer.

    The list is empty if nothing was judged, or not yet.
    """
    said = outcome.detail.get(SCORES)
    names = said.get("figures", ()) if isinstance(said, Mapping) else ()
    return [figure for name in names if (figure := outcome.figure(name)) is not None]


def cells_of_scores(outcome: Outcome) -> Row:
    """Return the cells that serve every scorer: the first figure with its interval, and all figures in one text."""
    found = scores_of(outcome)
    if not found:
        return {}
    first = found[0]
    known = [f"{one.name}={one.value:.{TEXT_DIGITS}g}" for one in found if one.value is not None]
    return {
        "ScoreName": first.name,
        "Score": rounded(first.value, DIGITS),
        "ScoreCiLow": rounded(first.interval.low, DIGITS) if first.interval else None,
        "ScoreCiHigh": rounded(first.interval.high, DIGITS) if first.interval else None,
        "Scores": "; ".join(known) or None,
    }
