"""Makes the table of a campaign's results. Each kind of work has figures of its own, and what the table says of missing values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.tables import MISSING, state
from cli.terminal import shown
from shared.device_labels import device_labels
from shared.percentiles import PERCENTILE_FLOORS

MAX_SWEPT = 3  # a table has columns for at most so many swept values
MAX_NAMED = 3  # a note names at most so many devices
SHORT_HASH = 8  # a table shows so many characters of a hash
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Column:
    """Describes one column of the results: its heading, and the text of each row that is complete."""

    heading: str
    cells: list[str | Text]
    is_figure: bool = True


def results_table(rows: Rows) -> tuple[Table, list[str]]:
    """Return the results of a campaign as a table, with notes that explain missing values. `rows` use the column names of the CSV.

    What the recipe swept has a column for each value. What no row has (a cost, a p99) has no column, so that the table fits the terminal.
    """
    swept = _swept(rows)
    models = _models(rows, in_names=swept is None)
    columns = swept or {}
    kind = next((str(row["Kind"]) for row in rows if row.get("Kind")), INFERENCE)
    identity = [_Column(WORK.get(kind, "What"), list(models), False)]
    identity += [_Column(name.replace("_", " "), list(values), False) for name, values in columns.items()]
    identity += [_Column("Device", list(_devices(rows)), False), _Column("Where", [_text(row, "ComputeUnits") for row in rows], False)]
    of_kind = FIGURES.get(kind, _of_any_kind)
    figures = [*of_kind(rows), _Column("Noise", [_text(row, "NoiseGrade") or MISSING for row in rows])]
    made = Table(header_style="bold", title_justify="left")
    for column in (*identity, *figures):
        made.add_column(column.heading, justify="right" if column.is_figure else "left", no_wrap=column.is_figure)
    notes: list[str] = []
    for index, (row, model) in enumerate(zip(rows, models, strict=True)):
        named = [column.cells[index] for column in identity]
        name = ", ".join([str(model), *(f"{key}={values[index]}" for key, values in columns.items() if values[index] != MISSING)])
        if row.get("Status") != "Complete":
            made.add_row(*named, state(str(row.get("Status") or "pending")))
            if row.get("Error"):
                notes.append(f"{name}: {_text(row, 'Error')}")
            continue
        made.add_row(*named, *(column.cells[index] for column in figures))
        notes += _few_inferences(row) if kind in FEW_SAMPLES else []
        notes += [f"{name}: {_text(row, key)}" for key in ("Warnings", "StoppedBecause") if _text(row, key)]
        if swept is not None and (assumed := _assumed(row, swept)):
            notes.append(f"{model}: {assumed}")
    return made, [*dict.fromkeys(notes), *_prices(rows)]


def _of_inferences(rows: Rows) -> list[_Column]:
    return [
        _Column("Median ms", [_milliseconds(row.get("InferenceMsMedian")) for row in rows]),
        _Column("95 % interval", [_interval(row.get("InferenceMsMedianCiLow"), row.get("InferenceMsMedianCiHigh")) for row in rows]),
        _Column("p90", [_milliseconds(row.get("InferenceMsP90")) for row in rows]),
        *_if_any(rows, "InferenceMsP99", "p99", _milliseconds),
        *_if_any(rows, "SamplesPerS", "Samples/s", _milliseconds),
        _Column("Load ms", [_milliseconds(row.get("LoadMsMedian")) for row in rows]),
        _Column("Peak MB", [_number(row.get("PeakInferenceRamUsage"), ".0f") for row in rows]),
        *_if_any(rows, "CostPer1000Samples", "Cost/1000", lambda value: _number(value, ".3g")),
    ]


def _of_hardware(rows: Rows) -> list[_Column]:
    return [
        *_if_any(rows, "GBPerS", "Memory GB/s", _milliseconds),
        _Column("fp32 GFLOP/s", [_milliseconds(_times(row.get("Tflops"), 1_000)) for row in rows]),
        *_if_any(rows, "TotalTimeS", "Took s", lambda value: _number(value, ".0f")),
    ]


def _of_generation(rows: Rows) -> list[_Column]:
    return [
        _Column("Tokens/s", [_milliseconds(row.get("TokensPerS")) for row in rows]),
        _Column("First token ms", [_milliseconds(row.get("TtftMsMedian")) for row in rows]),
        *_if_any(rows, "TpotMsMedian", "ms/token", _milliseconds),
        *_if_any(rows, "ItlMsP99", "p99 between tokens", _milliseconds),
        *_if_any(rows, "DecodeTokensPerS", "Decode tokens/s", _milliseconds),
        *_if_any(rows, "PrefillTokensPerS", "Prefill tokens/s", _milliseconds),
        *_if_any(rows, "Rouge1", "ROUGE-1", _milliseconds),
        *_if_any(rows, "RougeLsum", "ROUGE-Lsum", _milliseconds),
        *_scores(rows),
        _Column("Load ms", [_milliseconds(row.get("LoadMsMedian")) for row in rows]),
        *_if_any(rows, "CostPer1MTokens", "Cost/1M tokens", lambda value: _number(value, ".3g")),
    ]


OF_ROUGE = frozenset({"rouge1", "rouge2", "rougeL", "rougeLsum"})  # these figures have columns of their own


def _scores(rows: Rows) -> list[_Column]:
    """Return a column for each figure of the scorers that the rows have, whoever brought the scorer."""
    found = [_scores_of(row) for row in rows]
    names = [name for name in dict.fromkeys(name for one in found for name in one) if name not in OF_ROUGE]
    return [_Column(_heading(name), [_milliseconds(one.get(name)) for one in found]) for name in names]


def _scores_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scores of a row by name: only the first one if names hold a `;` or `=`, so that they cannot be told apart for sure."""
    found = _parameters(str(row.get("Scores") or ""))
    return found if found is not None else {str(row.get("ScoreName")): row.get("Score")}


def _heading(figure: str) -> str:
    """Return the name of a figure as a heading: `found_percent` is `Found %`."""
    words = shown(figure).removesuffix("_percent").replace("_", " ")
    return words[:1].upper() + words[1:] + (" %" if figure.endswith("_percent") else "")


BAR = 24  # characters of the longest bar


def _of_load(rows: Rows) -> list[_Column]:
    """Return the figures of services under load, with a bar for the throughput: the rows of a sweep are a curve."""
    highest = max((float(row["RequestsPerS"]) for row in rows if row.get("RequestsPerS") not in (None, "")), default=0.0)
    bound = any(row.get("ClientBound") == "yes" for row in rows)
    return [
        _Column("Requests/s", [_milliseconds(row.get("RequestsPerS")) for row in rows]),
        _Column("", [_bar(row, highest) for row in rows], False),
        _Column("p50 ms", [_milliseconds(row.get("InferenceMsMedian")) for row in rows]),
        *_if_any(rows, "InferenceMsP99", "p99 ms", _milliseconds),
        *_if_any(rows, "LatencyScheduledMsP99", "p99 ms from schedule", _milliseconds),
        *_if_any(rows, "TokensPerS", "Tokens/s", _milliseconds),
        *_if_any(rows, "TtftMsMedian", "First token ms", _milliseconds),
        *_if_any(rows, "RecallAtK", "Recall", lambda value: _number(value, ".3f")),
        _Column("Success %", [_milliseconds(row.get("SuccessRate")) for row in rows]),
        *([_Column("Client-bound", [_text(row, "ClientBound") or MISSING for row in rows])] if bound else []),
    ]


def _bar(row: Mapping[str, Any], highest: float) -> str:
    """Return a bar as long as the throughput of a row, against the highest one. It is hollow where the client may have been the limit."""
    value = row.get("RequestsPerS")
    if value in (None, "") or not highest:
        return ""
    return ("░" if row.get("ClientBound") == "yes" else "█") * max(1, round(BAR * float(value) / highest))


def _of_any_kind(rows: Rows) -> list[_Column]:
    """Return the figures that a kind without a table of its own has, of those that people look for first."""
    wanted = {
        "RequestsPerS": "Requests/s",
        "TokensPerS": "Tokens/s",
        "GBPerS": "GB/s",
        "InferenceMsMedian": "Median ms",
        "InferenceMsP99": "p99 ms",
        "SuccessRate": "Success %",
    }
    return [column for key, heading in wanted.items() for column in _if_any(rows, key, heading, _milliseconds)]


INFERENCE = "inference"
# This maps the name of each kind of work to its figures.
FIGURES: Mapping[str, Callable[[Rows], list[_Column]]] = {
    INFERENCE: _of_inferences,
    "generation": _of_generation,
    "hardware": _of_hardware,
    "load": _of_load,
}
WORK: Mapping[str, str] = {INFERENCE: "Model", "generation": "Model", "load": "Service"}  # the heading of what was measured
FEW_SAMPLES = frozenset({INFERENCE})  # the kinds whose rows say which percentiles they have too few samples for


def _if_any(rows: Rows, key: str, heading: str, written: Callable[[Any], str]) -> list[_Column]:
    return [_Column(heading, [written(row.get(key)) for row in rows])] if any(row.get(key) not in (None, "") for row in rows) else []


def _swept(rows: Rows) -> dict[str, list[str]] | None:
    """Return what distinguishes the rows, as the name of each value and its text in each row.

    The result is None if there are more than `MAX_SWEPT` such values, or if one of the cells is not plain `name=value; name=value`; then
    the models' names show the cells. Values that are the same in all rows, and numbers of inferences that go with the model, are left out.
    """
    cells = [_parameters(str(row.get("Parameters") or "")) for row in rows]
    if any(cell is None for cell in cells):
        return None
    known = [cell or {} for cell in cells]
    names = dict.fromkeys(name for cell in known for name in cell)
    differing = [name for name in names if len({cell.get(name) for cell in known}) > 1 and not _goes_with_model(rows, known, name)]
    if len(differing) > MAX_SWEPT:
        return None
    return {name: [shown(cell.get(name, MISSING)) for cell in known] for name in differing}


def _assumed(row: Mapping[str, Any], shown_apart: Collection[str]) -> str:
    """Return the dimensions of a row whose size nobody gave, unless they have a column."""
    found = _parameters(str(row.get("Parameters") or "")) or {}
    return shown("; ".join(f"{name}={value}" for name, value in found.items() if value.endswith("(assumed)") and name not in shown_apart))


def _goes_with_model(rows: Rows, cells: Sequence[Mapping[str, str]], name: str) -> bool:
    """Return whether a number of inferences only follows from the model: such a recipe sets it for each of its models."""
    if name != "inferences":
        return False
    by_model: dict[str, set[str | None]] = defaultdict(set)
    for row, cell in zip(rows, cells, strict=True):
        by_model[str(row.get("FileName"))].add(cell.get(name))
    return all(len(values) == 1 for values in by_model.values())


def _parameters(cell: str) -> dict[str, str] | None:
    """Return the values of a cell by name, or None if they cannot be told apart for sure, because a text among them holds a `;` or `=`."""
    parts = [part.partition("=") for part in cell.split("; ")] if cell else []
    plain = all(name and sign and not set(value) & set('=;"') for name, sign, value in parts)
    return {name: value for name, _, value in parts} if plain else None


def _prices(rows: Rows) -> list[str]:
    """Return the note that says what the cost is, and where its prices come from."""
    if not any(row.get("CostPer1000Samples") not in (None, "") for row in rows):
        return []
    devices: dict[str, dict[str, None]] = defaultdict(dict)
    for row, device in zip(rows, _devices(rows), strict=True):
        if row.get("PriceSource"):
            devices[f"{_number(row.get('PricePerHour'), 'g')} an hour by {_text(row, 'PriceSource')}"][device.plain] = None
    said = [f"{price} of {_some(list(names))}" for price, names in devices.items()] if len(devices) > 1 else list(devices)
    return [f"Cost/1000 is the device's price for 1 000 samples: {', '.join(said)}"]


def _some(names: list[str]) -> str:
    """Return the first few of some names, and how many more there are."""
    return ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def _models(rows: Rows, *, in_names: bool) -> list[Text]:
    """Return each row's model name. If models share a name, the beginning of their SHA-256 is added.

    Args:
        in_names: whether the name ends with the row's parameters, because they have no columns of their own.
    """
    contents: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.get("ModelSha256"):
            contents[str(row.get("FileName"))].add(str(row["ModelSha256"]))
    shown = []
    for row in rows:
        alike = len(contents[str(row.get("FileName"))]) > 1 and row.get("ModelSha256")
        content = f" (sha256 {_text(row, 'ModelSha256')[:SHORT_HASH]})" if alike else ""
        parameters = f", {_text(row, 'Parameters')}" if row.get("Parameters") and in_names else ""
        shown.append(Text(f"{_text(row, 'FileName')}{content}{parameters}"))
    return shown


def _devices(rows: Rows) -> list[Text]:
    """Return each row's device name. If devices share a name, the beginning of their worker's id is added."""
    labels = device_labels(
        (str(row["WorkerId"]), _text(row, "DeviceName")) for row in rows if row.get("WorkerId") and row.get("DeviceName")
    )
    return [Text(labels.get(str(row.get("WorkerId")), _text(row, "DeviceName")) if row.get("DeviceName") else "") for row in rows]


def _few_inferences(row: Mapping[str, Any]) -> list[str]:
    notes = []
    taken = int(row.get("Inferences") or 0)
    for name, floor in (("p90", PERCENTILE_FLOORS["p90"][1]), ("p99", PERCENTILE_FLOORS["p99"][1])):
        if row.get(f"InferenceMs{name.upper()}") in (None, ""):
            notes.append(f"no {name}: {taken} inferences are too few; it takes {floor} (inferences × repeats)")
    return notes


def _text(row: Mapping[str, Any], key: str) -> str:
    return shown(str(row.get(key) or ""))


def _number(value: Any, form: str) -> str:
    return MISSING if value in (None, "") else format(float(value), form)


def _times(value: Any, factor: float) -> float | None:
    return None if value in (None, "") else float(value) * factor


def _milliseconds(value: Any) -> str:
    """Return a time with three significant digits, or whole milliseconds from 100 on. More digits would only show noise."""
    if value in (None, ""):
        return MISSING
    number = float(value)
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"


def _interval(low: Any, high: Any) -> str:
    return MISSING if low in (None, "") or high in (None, "") else f"{_milliseconds(low)} – {_milliseconds(high)}"
