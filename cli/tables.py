"""Makes tables from the API's answers."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    return ", ".join([model, *(f"{name} {value}" for name, value in (options or {}).items())])


def told_apart(jobs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return jobs for a table: devices that share a name get a label that differs, and `why` holds the error or the reason to wait."""
    listed = [dict(job) for job in jobs]
    labels = device_labels((job["worker_id"], job["device"]) for job in listed if job.get("worker_id") and job.get("device"))
    return [
        job | {"device": labels.get(str(job.get("worker_id"))) or job.get("device"), "why": job.get("error") or job.get("waiting_for")}
        for job in listed
    ]


def results_table(rows: Sequence[Mapping[str, Any]]) -> tuple[Table, list[str]]:
    """Return the results of a campaign as a table, with notes that explain missing values. `rows` use the column names of the CSV."""
    headings = ("Model", "Device", "Where", "Median ms", "95 % interval", "p90", "p99", "Load ms", "Peak MB", "Noise")
    made = Table(header_style="bold", title_justify="left")
    for index, heading in enumerate(headings):
        made.add_column(heading, justify="left" if index < 3 else "right", no_wrap=index >= 3)
    notes: list[str] = []
    for row, model, device in zip(rows, _models(rows), _devices(rows), strict=True):
        identity = (model, device, Text(_text(row, "ComputeUnits")))
        if row.get("Status") != "Complete":
            word = str(row.get("Status") or "pending")
            made.add_row(*identity, state(word))
            if row.get("Error"):
                notes.append(f"{model}: {_text(row, 'Error')}")
            continue
        made.add_row(
            *identity,
            _milliseconds(row.get("InferenceMsMedian")),
            _interval(row.get("InferenceMsMedianCiLow"), row.get("InferenceMsMedianCiHigh")),
            _milliseconds(row.get("InferenceMsP90")),
            _milliseconds(row.get("InferenceMsP99")),
            _milliseconds(row.get("LoadMsMedian")),
            _number(row.get("PeakInferenceRamUsage"), ".0f"),
            _text(row, "NoiseGrade") or MISSING,
        )
        notes += _notes_on(row)
        notes += [f"{model}: {_text(row, key)}" for key in ("Warnings", "StoppedBecause") if _text(row, key)]
    return made, list(dict.fromkeys(notes))


def _models(rows: Sequence[Mapping[str, Any]]) -> list[Text]:
    """Return each row's model name with its parameters. If models share a name, the beginning of their SHA-256 is added."""
    contents: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.get("ModelSha256"):
            contents[str(row.get("FileName"))].add(str(row["ModelSha256"]))
    shown = []
    for row in rows:
        alike = len(contents[str(row.get("FileName"))]) > 1 and row.get("ModelSha256")
        content = f" (sha256 {_text(row, 'ModelSha256')[:SHORT_HASH]})" if alike else ""
        parameters = f", {_text(row, 'Parameters')}" if row.get("Parameters") else ""
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
            notes.append(f"{MISSING} in {name}: {taken} inferences are too few; it takes {floor} (inferences × repeats)")
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
