"""Adapts the figures of a job to what its tool can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from shared.figures import Figure, Outcome
from worker.load.figures import NO_SCHEDULE

BYTES = ("bytes_per_s", "bytes_per_second")
UNSCHEDULED = "limits the rate of a closed loop, so no request has a scheduled moment"
AVERAGE, CEILING = "latency_ms_avg", "client_ceiling_per_s"


def of_tool(outcome: Outcome, known: Sequence[Mapping[str, Any]], rate: float | None = None) -> Outcome:
    """Return the figures of a job that a tool has driven: those that it does not tell are null with that reason.

    Args:
        known: the facts of each repeat.
        rate: the requests per second that the recipe asks for; None for a closed loop.
    """
    tool = known[0]["tool"]
    name = tool["name"]
    averages = [one["prints"][0]["printed"].get("avg in ms") for one in known if len(one["prints"]) == 1]
    figures = [_told(figure, name, averages) for figure in outcome.figures]
    if rate is not None:
        figures = [_null(figure, f"{name} {UNSCHEDULED}") if figure.missing == NO_SCHEDULE else figure for figure in figures]
    detail = {**outcome.detail, "tool": {**tool, "commands": tool["commands"], "printed": [one["tool"]["printed"] for one in known]}}
    distributions = dict(outcome.distributions)
    if (latency := distributions.get("latency")) is not None and averages and None not in averages:
        why = {"stddev": f"{name} does not print it"}
        update = {"mean": median(averages), "stddev": None, "missing": {**latency.missing, **why}}
        distributions["latency"] = latency.model_copy(update=update)
    return outcome.model_copy(update={"figures": tuple(figures), "detail": detail, "distributions": distributions})


def _told(figure: Figure, tool: str, averages: Sequence[float | None]) -> Figure:
    if figure.name in BYTES:
        return _null(figure, f"{tool} does not tell how many bytes were sent and received")
    if figure.name == "ttfo_ms_p50":
        return _null(figure, f"{tool} does not tell reasoning and answer apart")
    if figure.name == CEILING:
        return _null(figure, f"the clients are those of {tool}, and no ceiling is measured for it")
    if figure.name == AVERAGE and (known := [value for value in averages if value is not None]):
        return figure.model_copy(update={"value": median(known), "interval": None, "repeats": tuple(known)})
    return figure


def _null(figure: Figure, missing: str) -> Figure:
    return figure.model_copy(update={"value": None, "interval": None, "n": 0, "repeats": (), "missing": missing})
