"""Says what a language model under load did with tokens: the table of a report, and warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.reports.page_texts import figure_text
from shared.figures import Outcome

MAX_WARNINGS = 5
# The figures of the table, with the heads of their columns.
SHOWN: Mapping[str, str] = {
    "tokens_per_second": "tokens/s",
    "ttft_ms_p50": "TTFT p50 ms",
    "ttft_ms_p99": "TTFT p99 ms",
    "tpot_ms_p50": "TPOT p50 ms",
    "itl_ms_p99": "ITL p99 ms",
    "decode_tokens_per_s": "tokens/s of one request",
    "output_tokens": "tokens of an answer",
}


def token_figures(outcome: Outcome) -> dict[str, float | None]:
    """Return the figures of tokens of a result. Empty if it is of no language model."""
    if outcome.figure("tokens_per_second") is None:
        return {}
    return {name: figure.value if (figure := outcome.figure(name)) is not None else None for name in SHOWN}


def token_warnings(outcome: Outcome | None) -> list[str]:
    """Return what the worker says about the tokens of a result that a reader must know."""
    said = outcome.detail.get("tokens") if outcome is not None else None
    warnings = said.get("warnings") if isinstance(said, Mapping) else None
    return [str(one) for one in warnings[:MAX_WARNINGS]] if isinstance(warnings, list) else []


def token_table(curve: Mapping[str, Any]) -> str:
    """Return the table of a curve whose points have tokens."""
    lines = [f"| {curve['level']} | {' | '.join(SHOWN.values())} |", "| ---: |" + " ---: |" * len(SHOWN)]
    for point in curve["points"]:
        known = curve["tokens"].get(point["job_id"], {})
        cells = ["–" if known.get(name) is None else figure_text(known[name]) for name in SHOWN]
        lines.append(f"| {point['level']:g} | {' | '.join(cells)} |")
    return "\n".join(lines)
