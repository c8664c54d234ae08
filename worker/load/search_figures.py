"""Makes figures of what drivers found when they compared their answers with an exact search. Everything here is pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Findings = Mapping[str, Mapping[str, Any]]  # of each client process of a repeat, by its index


def search_figures(repeats: Sequence[Findings], size: int) -> dict[str, tuple[list[float], str]]:
    """Return the figures, each with one value for each repeat that has one, and with why there are none.

    Args:
        size: How many vectors the collection must have, so that the comparison is a fair one.
    """
    waits = [max(found) for one in repeats if (found := [each["index"]["wait_s"] for each in one.values() if each["index"]])]
    reasons = [reason for one in repeats if (reason := why_no_recall(one, size))]
    recalls = [sum(each["right"] for each in one.values()) / sum(each["asked"] for each in one.values()) for one in repeats if not reasons]
    return {
        "index_wait_s": (waits, "" if waits else "no query was sent after the inserts"),
        "recall_at_k": (recalls, reasons[0] if reasons else ""),
    }


def why_no_recall(findings: Findings, size: int) -> str:
    """Return why the recall of a repeat is not known, or an empty text if it is."""
    if not findings:
        return "the work ended before the answers were compared with an exact search"
    if unreadable := sum(each["unreadable"] for each in findings.values()):
        return f"{unreadable} answers to queries could not be read"
    if not sum(each["asked"] for each in findings.values()):
        return "no query was answered"
    there = min(each["index"]["vectors"] for each in findings.values() if each["index"])
    return f"the collection has {there} of {size} vectors, so the exact search is about another one" if there != size else ""


def said_of(repeats: Sequence[Findings]) -> dict[str, Any]:
    """Return what a result says of the comparison."""
    every = [each for one in repeats for each in one.values()]
    return {
        "queries_compared": sum(each["queries"] for each in every),
        "index": [each["index"] for each in every if each["index"]],
    }
