"""Makes tables from the API's answers."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli.client import Listed
from cli.terminal import shown
from shared.device_labels import device_labels
from shared.jobs import outcome
from shared.percentiles import PERCENTILE_FLOORS

STATE_STYLES = {
    "complete": "green",
    "completed": "green",
    "active": "green",
    "healthy": "green",
    "running": "cyan",
    "busy": "cyan",
    "cleanup": "cyan",
    "pending": "yellow",
    "failed": "red",
    "faulty": "red",
    "cancelled": "magenta",
    "gone": "dim",
}
MISSING = "—"
MAX_SWEPT = 3  # values that a table has columns for
MAX_VALUE = 40  # characters of one option in the name of a job
SHORT_HASH = 8  # characters of a hash in a table


def state(words: str) -> Text:
    """Return a state in its colour. The words may say more, as in `completed, 3 of 3 failed`."""
    style = STATE_STYLES["failed"] if " failed" in words else STATE_STYLES.get(words.partition(",")[0].lower(), "")
    return Text(shown(words), style=style)


def campaign_outcome(campaign: Mapping[str, Any]) -> str:
    """Return a campaign's state with what went wrong: `completed, 3 of 3 failed`."""
    cancelled = campaign["job_breakdown"].get("cancelled", 0)
    return outcome(campaign["status"], campaign["total_jobs"], campaign["failed_jobs"], cancelled)


def next_page(command: str, listed: Listed, given: Mapping[str, Any]) -> str:
    """Return which part of a list was shown and the command that shows the next one. Empty if the list ends there.

    Args:
        given: the options of the command, by name; those that are None were not given.
    """
    if listed.more is None:
        return ""
    options = {name: value if isinstance(value, list) else [value] for name, value in given.items() if value is not None}
    said = [f"--{name} {shlex.quote(str(value))}" for name, values in options.items() for value in values]
    of = f" of {listed.total}" if listed.total is not None else ""
    return f"{len(listed.items)}{of}. The next:  {' '.join([command, *said, '--cursor', listed.more])}"


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str]], title: str | None = None) -> Table:
    """Return a table. `columns` are pairs `(heading, key)`; a key with a dot, such as `job_breakdown.failed`, reads a nested value."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, _ in columns:
        made.add_column(heading)
    for row in rows:
        made.add_row(*(_cell(_at(row, key), key) for _, key in columns))
    return made


def _at(row: Mapping[str, Any], key: str) -> Any:
    value: Any = row
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _cell(value: Any, key: str) -> RenderableType:
    if value is None or value == "":
        return Text(MISSING, style="dim")
    if key.endswith("status"):
        return state(str(value))
    if key.endswith(("_at", "_seen")):
        return Text(local_time(value))
    return Text(shown(", ".join(str(item) for item in value) if isinstance(value, list) else str(value)))


def local_time(value: Any) -> str:
    """Return a time as `2026-03-01 14:05:09` in this machine's time zone. `value` is ISO 8601 text or seconds since 1970."""
    try:
        moment = datetime.fromtimestamp(value).astimezone() if isinstance(value, int | float) else datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def work_name(model: str, options: Mapping[str, Any] | None) -> str:
    """Return a model's name with its options, so that the jobs of a sweep can be distinguished."""
    return ", ".join([model, *(f"{name} {value}" for name, value in _flat(options or {}))])


def _flat(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each option with its value. Dimensions, shapes and values of inputs have a name each, as in a sweep: `dims.sequence 16`."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", _brief(one)) for inner, one in value.items())
        else:
            yield name, _brief(value)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | Mapping | bool) else str(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def told_apart(jobs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return jobs for a table: devices that share a name get a label that differs. `why` is the error, the reason to wait, or the stage."""
    listed = [dict(job) for job in jobs]
    labels = device_labels((job["worker_id"], job["device"]) for job in listed if job.get("worker_id") and job.get("device"))
    return [job | {"device": labels.get(str(job.get("worker_id"))) or job.get("device"), "why": _why(job)} for job in listed]


def _why(job: Mapping[str, Any]) -> str | None:
    stage, progress = job.get("stage"), job.get("progress")
    doing = f"{stage}, {progress:.0%}" if stage and progress is not None else stage
    return job.get("error") or job.get("waiting_for") or doing


@dataclass(frozen=True)
class _Column:
    """Describes one column of the results: its heading, and the text of each row that is complete."""

    heading: str
    cells: list[str | Text]
    is_figure: bool = True


def results_table(rows: Sequence[Mapping[str, Any]]) -> tuple[Table, list[str]]:
    """Return the results of a campaign as a table, with notes that explain missing values. `rows` use the column names of the CSV.

    What the recipe swept has a column for each value. What no row has (a cost, a p99) has no column, so that the table fits the terminal.
    """
    swept = _swept(rows)
    models = _models(rows, in_names=swept is None)
    columns = swept or {}
    identity = [_Column("Model", list(models), False)]
    identity += [_Column(name.replace("_", " "), list(values), False) for name, values in columns.items()]
    identity += [_Column("Device", list(_devices(rows)), False), _Column("Where", [_text(row, "ComputeUnits") for row in rows], False)]
    figures = [
        _Column("Median ms", [_milliseconds(row.get("InferenceMsMedian")) for row in rows]),
        _Column("95 % interval", [_interval(row.get("InferenceMsMedianCiLow"), row.get("InferenceMsMedianCiHigh")) for row in rows]),
        _Column("p90", [_milliseconds(row.get("InferenceMsP90")) for row in rows]),
        *_if_any(rows, "InferenceMsP99", "p99", _milliseconds),
        *_if_any(rows, "SamplesPerS", "Samples/s", _milliseconds),
        _Column("Load ms", [_milliseconds(row.get("LoadMsMedian")) for row in rows]),
        _Column("Peak MB", [_number(row.get("PeakInferenceRamUsage"), ".0f") for row in rows]),
        *_if_any(rows, "CostPer1000Samples", "Cost/1000", lambda value: _number(value, ".3g")),
        _Column("Noise", [_text(row, "NoiseGrade") or MISSING for row in rows]),
    ]
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
        notes += _notes_on(row)
        notes += [f"{name}: {_text(row, key)}" for key in ("Warnings", "StoppedBecause") if _text(row, key)]
        if swept is not None and (assumed := _assumed(row, swept)):
            notes.append(f"{model}: {assumed}")
    return made, [*dict.fromkeys(notes), *_prices(rows)]


def _if_any(rows: Sequence[Mapping[str, Any]], key: str, heading: str, written: Callable[[Any], str]) -> list[_Column]:
    return [_Column(heading, [written(row.get(key)) for row in rows])] if any(row.get(key) not in (None, "") for row in rows) else []


def _swept(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]] | None:
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


def _goes_with_model(rows: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, str]], name: str) -> bool:
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


def _prices(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the note that says what the cost is, and where its prices come from."""
    if not any(row.get("CostPer1000Samples") not in (None, "") for row in rows):
        return []
    said = dict.fromkeys(
        f"{_number(row.get('PricePerHour'), 'g')} an hour by {_text(row, 'PriceSource')}" for row in rows if row.get("PriceSource")
    )
    return [f"Cost/1000 is the device's price for 1 000 samples: {', '.join(said)}"]


def _models(rows: Sequence[Mapping[str, Any]], *, in_names: bool) -> list[Text]:
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


def _devices(rows: Sequence[Mapping[str, Any]]) -> list[Text]:
    """Return each row's device name. If devices share a name, the beginning of their worker's id is added."""
    labels = device_labels(
        (str(row["WorkerId"]), _text(row, "DeviceName")) for row in rows if row.get("WorkerId") and row.get("DeviceName")
    )
    return [Text(labels.get(str(row.get("WorkerId")), _text(row, "DeviceName")) if row.get("DeviceName") else "") for row in rows]


def _notes_on(row: Mapping[str, Any]) -> list[str]:
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


def _milliseconds(value: Any) -> str:
    """Return a time with three significant digits, or whole milliseconds from 100 on. More digits would only show noise."""
    if value in (None, ""):
        return MISSING
    number = float(value)
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"


def _interval(low: Any, high: Any) -> str:
    return MISSING if low in (None, "") or high in (None, "") else f"{_milliseconds(low)} – {_milliseconds(high)}"
