"""Implements the commands for campaigns: submit, validate, list, show, follow, read results, and stop."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from cli import zoo
from cli.client import Client
from cli.errors import EXIT_FAILED, EXIT_USAGE
from cli.options import Host, Json, Limit, Token, connect
from cli.submission import prepare, read_recipe, submit
from cli.tables import local_time, results_table, state, table, told_apart, work_name
from cli.terminal import err, out, say, show_error, show_json
from cli.watching import watch as follow
from shared.errors import FleetmarkError, InvalidInput
from shared.installation import how_to_call, shown_recipe
from shared.recipes import Recipe
from shared.recipes.cells import cells_of, default_devices

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).")]
CampaignId = Annotated[str, typer.Argument(metavar="ID", help="The id of a campaign, as `fleetmark list` shows it.")]

CAMPAIGN_COLUMNS = [
    ("Campaign", "campaign_id"),
    ("Name", "name"),
    ("Status", "status"),
    ("Jobs", "total_jobs"),
    ("Complete", "completed_jobs"),
    ("Failed", "failed_jobs"),
    ("Created", "created_at"),
]
JOB_COLUMNS = [
    ("Job", "job_id"),
    ("Model", "model"),
    ("Compute unit", "compute_unit"),
    ("Status", "status"),
    ("Device", "device"),
    ("Worker", "worker_id"),
    ("Why", "why"),
]


class Format(StrEnum):
    CSV = "csv"
    EXCEL = "excel"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


ENDINGS = (Format.CSV, Format.JSON, Format.JSONL, Format.PARQUET)  # a file with the format `excel` has the ending .csv


def run(
    recipe: RecipeFile,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the campaign, and show the results when it has ended.")] = False,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Submit a recipe. Models on this machine, and networks known by name, are uploaded first.

    With --watch, the exit code is 1 if a job failed.

    Examples:

      fleetmark run recipes/quickstart.yaml --watch
      fleetmark run sweep.yaml --host http://lab:5000 --json | jq -r .campaign_id
    """
    content = read_recipe(recipe)
    with connect(host, token) as client:
        accepted = submit(client, content, recipe.parent)
        for warning in accepted.get("warnings", []):
            err.print("warning:", warning, style="yellow")
        campaign_id = accepted["campaign_id"]
        if not watch:
            if as_json:
                show_json(accepted)
                return
            out.print(f"{campaign_id}: {accepted['total_jobs']} jobs")
            say(f"Follow it:  {how_to_call('watch', campaign_id)}")
            return
        say(f"{campaign_id}: {accepted['total_jobs']} jobs")
        _follow(client, campaign_id, as_json)


def validate(recipe: RecipeFile, as_json: Json = False) -> None:
    """Check a recipe without submitting it. All mistakes are reported at once, each with its line. The exit code is 2 if there is one.

    Models that are files must exist. Networks known by name (NAMES) are made when they are first needed.

    Examples:

      fleetmark validate recipes/quickstart.yaml
      fleetmark validate sweep.yaml --json
    """
    try:
        content = read_recipe(recipe)
        cells = sum(1 for _ in cells_of(content))
        models = prepare(content, recipe.parent)
    except InvalidInput as error:
        if not as_json:
            raise
        show_json({"valid": False, **error.body()})
        raise typer.Exit(EXIT_USAGE) from error
    if as_json:
        found = [{"model": entry.model, "name": entry.name, "file": str(file) if file else None} for entry, file in models]
        show_json({"valid": True, "recipe": content.model_dump(mode="json", exclude_unset=True), "cells": cells, "models": found})
        return
    out.print(f"{recipe} is valid: {content.name}")
    if content.sweep:
        out.print(f"  {cells} cells of models and swept values, a job each on every compute unit and device")
    out.print(f"  devices: {_devices(content, cells)}")
    for entry, file in models:
        where = f"uploaded from {file}" if file else "fetched by the worker, or known to the orchestrator"
        out.print(f"  {entry.model}: {where}")


def _devices(recipe: Recipe, cells: int) -> str:
    """Return where the jobs of a recipe go, in words."""
    if isinstance(recipe.devices, tuple):
        return f"{', '.join(recipe.devices)}; each of them measures every cell"
    meaning = recipe.devices or default_devices(cells)
    return {
        "one": "one, the first that is free takes all jobs" + ("" if recipe.devices else " (`devices: any` would spread them)"),
        "any": "any that is free, for each job anew",
        "every": "every one that can run the jobs; each of them measures every cell",
    }[meaning]


validate.__doc__ = (validate.__doc__ or "").replace("NAMES", ", ".join(zoo.NAMES))


def list_campaigns(
    status: Annotated[str | None, typer.Option(help="Show only campaigns with this status: running, completed or cancelled.")] = None,
    limit: Limit = 20,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List campaigns, newest first.

    Examples:

      fleetmark list
      fleetmark list --status running --json
    """
    with connect(host, token) as client:
        found = list(client.pages("campaigns", "campaigns", limit=limit, status=status))
    if as_json:
        show_json(found)
        return
    out.print(table(found, CAMPAIGN_COLUMNS))
    if not found:
        say(f"No campaign yet. Submit one:  {how_to_call('run', shown_recipe('quickstart.yaml'), '--watch')}")


def show(campaign_id: CampaignId, host: Host = None, token: Token = None, as_json: Json = False) -> None:
    """Show one campaign and its jobs.

    Examples:

      fleetmark show campaign-01jd9…
      fleetmark show campaign-01jd9… --json | jq .job_breakdown
    """
    with connect(host, token) as client:
        campaign = client.get(f"campaigns/{campaign_id}")
    if as_json:
        show_json(campaign)
        return
    out.print(Text(campaign["name"], style="bold"), f" {campaign['campaign_id']}  created {local_time(campaign['created_at'])}")
    out.print(state(campaign["status"]), _counts(campaign))
    jobs = [job | {"model": work_name(job["model"], job["options"])} for job in told_apart(campaign["jobs"])]
    out.print(table(jobs, JOB_COLUMNS))
    if len(campaign["jobs"]) < campaign["total_jobs"]:
        every = how_to_call("jobs", "--campaign", campaign_id, "-n", str(campaign["total_jobs"]))
        say(f"The first {len(campaign['jobs'])} of {campaign['total_jobs']}; all of them:  {every}")


def _counts(campaign: dict[str, Any]) -> str:
    return ", ".join(f"{count} {status}" for status, count in campaign["job_breakdown"].items() if count)


def watch(campaign_id: CampaignId, host: Host = None, token: Token = None, as_json: Json = False) -> None:
    """Follow a campaign until it has ended, then show its results. The exit code is 1 if a job failed.

    Example:

      fleetmark watch campaign-01jd9…
    """
    with connect(host, token) as client:
        _follow(client, campaign_id, as_json)


def _follow(client: Client, campaign_id: str, as_json: bool) -> None:
    campaign = follow(client, campaign_id)
    if as_json:
        show_json({"campaign": campaign, "results": read_results(client, campaign_id)})
    else:
        show_results(client, campaign_id)
        say(f"As a file:  {how_to_call('results', campaign_id, '-o results.csv')}")
    if campaign["failed_jobs"]:
        raise typer.Exit(EXIT_FAILED)


def read_results(client: Client, campaign_id: str) -> list[dict[str, Any]]:
    """Return the results of a campaign, one mapping for each row, with the column names of the CSV."""
    text = b"".join(client.stream(f"campaigns/{campaign_id}/results", format="jsonl")).decode()
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def show_results(client: Client, campaign_id: str) -> None:
    made, notes = results_table(read_results(client, campaign_id))
    out.print(made)
    for note in notes:
        out.print(note, style="dim")


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
        unfinished = output.with_name(f".{output.name}.part")
        try:
            with unfinished.open("wb") as file:
                file.writelines(pieces)
            unfinished.replace(output)
        except OSError as error:
            raise InvalidInput(f"{output} cannot be written: {error.strerror}") from error
        finally:
            unfinished.unlink(missing_ok=True)
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
        raise InvalidInput(f"no format belongs to the ending of {file}: use one of {known}, or name the format with --format")
    return otherwise


def stop(
    campaign_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="The campaigns to cancel.")],
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Cancel all unfinished jobs of campaigns. Stopping a campaign that has ended changes nothing.

    Example:

      fleetmark stop campaign-01jd9…
    """
    stopped: list[dict[str, Any]] = []
    refusals: list[FleetmarkError] = []
    with connect(host, token) as client:
        for campaign_id in campaign_ids:
            try:
                stopped.append(client.post(f"campaigns/{campaign_id}/cancel"))
            except FleetmarkError as error:
                if len(campaign_ids) == 1:
                    raise
                refusals.append(error)
    if as_json:
        show_json(stopped)
    else:
        for campaign in stopped:
            out.print(f"{campaign['campaign_id']}:", state(campaign["status"]))
    for refusal in refusals:
        show_error(refusal)
    if refusals:
        raise typer.Exit(EXIT_USAGE)
