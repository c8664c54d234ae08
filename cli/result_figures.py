"""Says which figures the table of results shows for each kind of work, and how values are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from cli.tables import MISSING
from cli.terminal import shown

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Column:
    """Describes one column of the results: its heading, and the text of each row that is complete."""

    heading: str
    cells: list[str | Text]
    is_figure: bool = True


def _of_inferences(rows: Rows) -> list[Column]:
    return [
        Column("Median ms", [_digits(row.get("InferenceMsMedian")) for row in rows]),
        Column("95 % interval", [_interval(row.get("InferenceMsMedianCiLow"), row.get("InferenceMsMedianCiHigh")) for row in rows]),
        Column("p90", [_digits(row.get("InferenceMsP90")) for row in rows]),
        *_if_any(rows, "InferenceMsP99", "p99", _digits),
        *_if_any(rows, "SamplesPerS", "Samples/s", _digits),
        Column("Load ms", [_digits(row.get("LoadMsMedian")) for row in rows]),
        Column("Peak MB", [number(row.get("PeakInferenceRamUsage"), ".0f") for row in rows]),
        *_if_any(rows, "CostPer1000Samples", "Cost/1000", lambda value: number(value, ".3g")),
    ]


def _of_hardware(rows: Rows) -> list[Column]:
    return [
        *_if_any(rows, "GBPerS", "Memory GB/s", _digits),
        Column("fp32 GFLOP/s", [_digits(_times(row.get("Tflops"), 1_000)) for row in rows]),
        *_if_any(rows, "TotalTimeS", "Took s", lambda value: number(value, ".0f")),
    ]


def _of_generation(rows: Rows) -> list[Column]:
    return [
        Column("Tokens/s", [_digits(row.get("TokensPerS")) for row in rows]),
        Column("First token ms", [_digits(row.get("TtftMsMedian")) for row in rows]),
        *_if_any(rows, "TpotMsMedian", "ms/token", _digits),
        *_if_any(rows, "ItlMsP99", "p99 between tokens", _digits),
        *_if_any(rows, "DecodeTokensPerS", "Decode tokens/s", _digits),
        *_if_any(rows, "PrefillTokensPerS", "Prefill tokens/s", _digits),
        *_if_any(rows, "Rouge1", "ROUGE-1", _digits),
        *_if_any(rows, "RougeLsum", "ROUGE-Lsum", _digits),
        *_scores(rows),
        Column("Load ms", [_digits(row.get("LoadMsMedian")) for row in rows]),
        *_if_any(rows, "CostPer1MTokens", "Cost/1M tokens", lambda value: number(value, ".3g")),
    ]


OF_ROUGE = frozenset({"rouge1", "rouge2", "rougeL", "rougeLsum"})  # these figures have columns of their own


def _scores(rows: Rows) -> list[Column]:
    """Return a column for each figure of the scorers that the rows have, whoever brought the scorer."""
    found = [_scores_of(row) for row in rows]
    names = [name for name in dict.fromkeys(name for one in found for name in one) if name not in OF_ROUGE]
    return [Column(_heading(name), [_digits(one.get(name)) for one in found]) for name in names]


def _scores_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scores of a row by name: only the first one if names hold a `;` or `=`, so that they cannot be told apart for sure."""
    found = parameters(str(row.get("Scores") or ""))
    return found if found is not None else {str(row.get("ScoreName")): row.get("Score")}


def _heading(figure: str) -> str:
    """Return the name of a figure as a heading: `found_percent` is `Found %`."""
    words = shown(figure).removesuffix("_percent").replace("_", " ")
    return words[:1].upper() + words[1:] + (" %" if figure.endswith("_percent") else "")


BAR = 24  # characters of the longest bar


def _of_load(rows: Rows) -> list[Column]:
    """Return the figures of services under load, with a bar for the throughput: the rows of a sweep are a curve."""
    highest = max((float(row["RequestsPerS"]) for row in rows if row.get("RequestsPerS") not in (None, "")), default=0.0)
    bound = any(row.get("ClientBound") == "yes" for row in rows)
    return [
        Column("Requests/s", [_digits(row.get("RequestsPerS")) for row in rows]),
        Column("", [_bar(row, highest) for row in rows], False),
        Column("p50 ms", [_digits(row.get("InferenceMsMedian")) for row in rows]),
        *_if_any(rows, "InferenceMsP99", "p99 ms", _digits),
        *_if_any(rows, "LatencyScheduledMsP99", "p99 ms from schedule", _digits),
        *_if_any(rows, "TokensPerS", "Tokens/s", _digits),
        *_if_any(rows, "TtftMsMedian", "First token ms", _digits),
        *_if_any(rows, "RecallAtK", "Recall", lambda value: number(value, ".3f")),
        Column("Success %", [_digits(row.get("SuccessRate")) for row in rows]),
        *([Column("Client-bound", [text(row, "ClientBound") or MISSING for row in rows])] if bound else []),
    ]


def _bar(row: Mapping[str, Any], highest: float) -> str:
    """Return a bar as long as the throughput of a row, against the highest one. It is hollow where the client may have been the limit."""
    value = row.get("RequestsPerS")
    if value in (None, "") or not highest:
        return ""
    return ("░" if row.get("ClientBound") == "yes" else "█") * max(1, round(BAR * float(value) / highest))


def of_any_kind(rows: Rows) -> list[Column]:
    """Return the figures that a kind without a table of its own has, of those that people look for first."""
    wanted = {
        "RequestsPerS": "Requests/s",
        "TokensPerS": "Tokens/s",
        "GBPerS": "GB/s",
        "InferenceMsMedian": "Median ms",
        "InferenceMsP99": "p99 ms",
        "SuccessRate": "Success %",
    }
    return [column for key, heading in wanted.items() for column in _if_any(rows, key, heading, _digits)]


INFERENCE = "inference"
# This maps the name of each kind of work to its figures.
FIGURES: Mapping[str, Callable[[Rows], list[Column]]] = {
    INFERENCE: _of_inferences,
    "generation": _of_generation,
    "hardware": _of_hardware,
    "load": _of_load,
}
WORK: Mapping[str, str] = {INFERENCE: "Model", "generation": "Model", "load": "Service"}  # the heading of what was measured
FEW_SAMPLES = frozenset({INFERENCE})  # the kinds whose rows say which percentiles they have too few samples for


def _if_any(rows: Rows, key: str, heading: str, written: Callable[[Any], str]) -> list[Column]:
    return [Column(heading, [written(row.get(key)) for row in rows])] if any(row.get(key) not in (None, "") for row in rows) else []


def parameters(cell: str) -> dict[str, str] | None:
    """Return the values of a cell by name, or None if they cannot be told apart for sure, because a text among them holds a `;` or `=`."""
    parts = [part.partition("=") for part in cell.split("; ")] if cell else []
    plain = all(name and sign and not set(value) & set('=;"') for name, sign, value in parts)
    return {name: value for name, _, value in parts} if plain else None


def text(row: Mapping[str, Any], key: str) -> str:
    return shown(str(row.get(key) or ""))


def number(value: Any, form: str) -> str:
    return MISSING if value in (None, "") else format(float(value), form)


def _times(value: Any, factor: float) -> float | None:
    return None if value in (None, "") else float(value) * factor


def _digits(value: Any) -> str:
    """Return a figure with three significant digits, or as a whole number from 100 on. More digits would only show noise."""
    if value in (None, ""):
        return MISSING
    figure = float(value)
    return f"{figure:.3g}" if abs(figure) < 100 else f"{figure:.0f}"


def _interval(low: Any, high: Any) -> str:
    return MISSING if low in (None, "") or high in (None, "") else f"{_digits(low)} – {_digits(high)}"
