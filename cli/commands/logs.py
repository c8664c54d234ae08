"""Implements `fleetmark logs`: the log lines of a campaign's jobs, from all devices."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from cli.client import Client
from cli.durations import duration
from cli.options import Host, Token, connect
from cli.tables import local_time
from cli.terminal import out, say
from shared.errors import InvalidInput
from shared.ids import JOB_ID, campaign_of, number_of

STYLES = {"warning": "yellow", "error": "red", "debug": "dim"}


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Source(StrEnum):
    APPLICATION = "application"
    SYSTEM = "system"
    BENCHMARK = "benchmark"
    INFRASTRUCTURE = "infrastructure"


def logs(
    name: Annotated[str, typer.Argument(metavar="ID", help="The id of a campaign, or of one of its jobs.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until the campaign has ended.")] = False,
    level: Annotated[Level | None, typer.Option(help="Show only lines of this level and above.")] = None,
    source: Annotated[
        list[Source] | None,
        typer.Option(help="Show only lines of this source. `application` is what a model's process printed."),
    ] = None,
    worker: Annotated[str | None, typer.Option(help="Show only lines of the worker with this id.")] = None,
    search: Annotated[str | None, typer.Option(help="Show only lines whose message contains this text.")] = None,
    since: Annotated[str | None, typer.Option(help="Show only lines since then: 10m, 2h, 1d, or a time such as 2026-03-01T12:00.")] = None,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=1, help="Show only this number of lines, the newest.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Write all logs of the campaign to ID_logs.tar.gz.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="With --download: write to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line as a JSON object.")] = False,
    host: Host = None,
    token: Token = None,
) -> None:
    """Show the log lines of all jobs of a campaign, job by job. A worker sends the lines of an attempt when the attempt has ended.

    Examples:

      fleetmark logs campaign-01jd9…
      fleetmark logs campaign-01jd9… --follow --level warning
      fleetmark logs campaign-01jd9…-job-3 --source application --search "out of memory"
      fleetmark logs campaign-01jd9… --since 2h --json | jq .message
      fleetmark logs campaign-01jd9… --download
    """
    job = name if JOB_ID.fullmatch(name) else None
    campaign_id = campaign_of(name) if job else name
    with connect(host, token) as client:
        if download:
            _download(client, campaign_id, output)
            return
        if output is not None:
            raise InvalidInput(
                "--output goes together with --download; to keep shown lines, redirect them: fleetmark logs ID --json > lines.jsonl"
            )
        wanted = {"level": level, "source": source or None, "job": job, "worker": worker, "search": search, "tail": tail}
        lines = client.lines(f"campaigns/{campaign_id}/logs", follow=follow or None, since=_moment(since), **wanted)
        shown = _show(lines, as_json)
    if not shown and not follow:
        say("There is no such line yet. A worker sends the log of an attempt when the attempt has ended.")


def _moment(since: str | None) -> str | None:
    if since is None:
        return None
    try:
        try:
            moment = datetime.fromisoformat(since)
        except ValueError:
            moment = datetime.now(UTC) - duration(since, "--since")
        return moment.astimezone(UTC).isoformat()
    except OverflowError as error:
        raise InvalidInput(f"--since {since!r} lies outside of the years 1 to 9999") from error


def _show(lines: Iterable[bytes], as_json: bool) -> int:
    number = 0
    for raw in _filled(lines):
        number += 1
        if as_json:
            sys.stdout.write(raw.decode(errors="replace") + "\n")
            sys.stdout.flush()
        else:
            _print(json.loads(raw))
    return number


def _filled(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if line.strip())


def _print(line: dict[str, Any]) -> None:
    level = str(line.get("level", ""))
    place = f"{number_of(str(line.get('job', '')))}.{line.get('attempt', '')}"
    out.print(
        Text(local_time(line.get("time"))[-8:], style="dim"),
        Text(f"{level:<7}", style=STYLES.get(level, "")),
        Text(f"job {place} {line.get('source', '')}:", style="dim"),
        str(line.get("message", "")),
        soft_wrap=True,
    )


def _download(client: Client, campaign_id: str, output: Path | None) -> None:
    file = output or Path(f"{campaign_id}_logs.tar.gz")
    client.download(f"campaigns/{campaign_id}/logs.tar.gz", file)
    say(f"Wrote {file} ({file.stat().st_size} bytes)")
