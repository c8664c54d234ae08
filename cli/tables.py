"""Makes tables from the API's answers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli.client import Listed
from cli.terminal import shown
from shared.device_labels import device_labels
from shared.jobs import outcome

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
MAX_VALUE = 40  # the most characters of one option that the name of a job shows


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


def work_name(model: str, options: Mapping[str, Any] | None, parameters: Mapping[str, str] | None = None) -> str:
    """Return a model's name with its options, and what else distinguishes the job from the others of its campaign.

    Args:
        parameters: as the API sends them; the options among them are shown once. An older orchestrator sends none.
    """
    said = dict(_flat(options or {}))
    further = {name: _brief(value) for name, value in (parameters or {}).items() if name not in said}
    return ", ".join([model, *(f"{name} {value}" for name, value in {**said, **further}.items())])


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
