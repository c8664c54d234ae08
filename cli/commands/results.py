"""Implements the command that shows the results of a campaign or writes them to a file."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from cli.client import Client
from cli.commands.campaigns import CampaignId
from cli.files import write_whole
from cli.fitting import Fitting
from cli.options import Host, Json, Token, connect
from cli.results_table import results_table
from cli.terminal import out, say
from shared.errors import InvalidInput


class Format(StrEnum):
    CSV = "csv"
    EXCEL = "excel"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


ENDINGS = (Format.CSV, Format.JSON, Format.JSONL, Format.PARQUET)  # a file with the format `excel` has the ending .csv


def results(
    campaign_id: CampaignId,
    format: Annotated[  # noqa: A002 (the contract's name)
        Format | None,
        typer.Option(help="The format of the results. By default the ending of the file decides. Without a file, a table is shown."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of the screen.")] = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show the results of a campaign. While jobs are running, these are the results of those that have finished.

    Examples:

      fleetmark results campaign-01jd9…
      fleetmark results campaign-01jd9… -o results.csv
      fleetmark results campaign-01jd9… -o results.parquet
      fleetmark results campaign-01jd9… -o results.csv --format excel   # decimal commas, for a spreadsheet set to German, French, …
      fleetmark results campaign-01jd9… --format jsonl | jq .InferenceMsMedian
    """
    wanted = format or _by_ending(output, Format.JSON if as_json else None) or Format.CSV
    with connect(host, token) as client:
        if format is None and output is None and not as_json:
            show_results(client, campaign_id)
            return
        pieces = client.stream(f"campaigns/{campaign_id}/results", format=wanted.value)
        if output is None and sys.stdout.isatty() and wanted is not Format.PARQUET:
            out.print(b"".join(pieces).decode(errors="replace").replace("\r\n", "\n"), end="", soft_wrap=True)
            return
        if output is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        write_whole(output, pieces)
        say(f"Wrote {output} ({output.stat().st_size} bytes)")


def _by_ending(file: Path | None, otherwise: Format | None) -> Format | None:
    """Return the format that belongs to the ending of a file name. Return `otherwise` if the name has no ending.

    Raises:
        InvalidInput: no format belongs to the ending, and `otherwise` is None.
    """
    ending = file.suffix.removeprefix(".").lower() if file else ""
    if ending in ENDINGS:
        return Format(ending)
    if ending and otherwise is None:
        known = ", ".join(f".{name}" for name in ENDINGS)
        csv = quote(str(file.with_suffix(".csv"))) if file else ""
        excel = f"; Excel opens `--format excel -o {csv}`" if ending in ("xlsx", "xls") else ""
        raise InvalidInput(f"no format belongs to the ending of {file}: use one of {known}, or name the format with --format{excel}")
    return otherwise


def read_results(client: Client, campaign_id: str) -> list[dict[str, Any]]:
    """Return the results of a campaign, one mapping for each row, with the column names of the CSV."""
    text = b"".join(client.stream(f"campaigns/{campaign_id}/results", format="jsonl")).decode()
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def show_results(client: Client, campaign_id: str) -> None:
    show_rows(read_results(client, campaign_id))


def show_rows(rows: list[dict[str, Any]]) -> None:
    made, notes = results_table(rows)
    out.print(Fitting(made))
    for note in notes:
        out.print(note, style="dim")
