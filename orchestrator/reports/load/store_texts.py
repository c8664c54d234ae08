"""Says what a store did besides answering requests: the objects that it wrote and read, or how right its answers were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.reports.page_texts import figure_text
from shared.figures import Outcome

# The figures of the table, with the heads of their columns. A table has those that one of its points has.
SHOWN: Mapping[str, str] = {
    "put_ops_per_second": "PUT/s",
    "get_ops_per_second": "GET/s",
    "put_bytes_per_second": "bytes/s written",
    "get_bytes_per_second": "bytes/s read",
    "insert_vps": "vectors/s inserted",
    "index_wait_s": "wait for the index s",
    "recall_at_k": "recall",
}


def store_figures(outcome: Outcome) -> dict[str, float]:
    """Return the figures of a store that a result has. Empty if it is of no store."""
    return {name: figure.value for name in SHOWN if (figure := outcome.figure(name)) is not None and figure.value is not None}


def store_table(curve: Mapping[str, Any]) -> str:
    """Return the table of a curve whose points are of a store."""
    names = [name for name in SHOWN if any(name in known for known in curve["stores"].values())]
    lines = [f"| {curve['level']} | {' | '.join(SHOWN[name] for name in names)} |", "| ---: |" + " ---: |" * len(names)]
    for point in curve["points"]:
        known = curve["stores"].get(point["job_id"], {})
        cells = [figure_text(known[name]) if name in known else "–" for name in names]
        lines.append(f"| {point['level']:g} | {' | '.join(cells)} |")
    return "\n".join(lines)
