"""Implements the commands for campaigns: submit, validate, list, show, follow, read results, and stop."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cli import zoo
from cli.client import Client
from cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from cli.options import Cursor, Host, Json, Limit, Token, connect
from cli.submission import prepare, read_recipe, submit
from cli.tables import campaign_outcome, local_time, next_page, results_table, state, table, told_apart, work_name
from cli.terminal import err, out, say, show_error, show_json
from cli.verdicts import show_verdicts
from cli.watching import watch as follow
from shared.errors import FleetmarkError, InvalidInput, nearest
from shared.installation import how_to_call, shown_recipe
from shared.jobs import CampaignStatus, JobStatus

if TYPE_CHECKING:
    from shared.recipes import Recipe

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).")]
CampaignId = Annotated[str, typer.Argument(metavar="ID", help="The id of a campaign, as `fleetmark list` shows it.")]

CONDITIONS = ("failed", "cancelled", "noisy")
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="CONDITION",
        help="Exit with 1 also in this case: `cancelled` (a single job was cancelled) or `noisy` (a result is graded noisy). `failed` "
        "always counts. May be given several times, or as a list with commas.",
    ),
]
CAMPAIGN_COLUMNS = [
    ("Campaign", "campaign_id"),
    ("Name", "name"),
    ("Status", "outcome.status"),
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


MAX_STAGES = 10


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
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Stop following after this number of seconds, with exit code 1. The campaign goes on. Implies --watch."),
    ] = None,
    fail_on: FailOn = None,
    wait_for_device: Annotated[
        bool, typer.Option("--wait-for-device", help="Accept a device name that nobody has yet. Its jobs wait until the device registers.")
    ] = False,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Submit a recipe. Models on this machine, and networks known by name, are uploaded first.

    With --watch, the exit code is 1 if a job failed, no job is complete, or the campaign was cancelled.

    Examples:

      fleetmark run recipes/quickstart.yaml --watch
      fleetmark run gate.yaml --watch --timeout 1800 --fail-on noisy,cancelled
      fleetmark run sweep.yaml --host http://lab:5000 --json | jq -r .campaign_id
    """
    conditions = _conditions(fail_on)
    content = read_recipe(recipe)
    with connect(host, token) as client:
        accepted = submit(client, content, recipe.parent, wait_for_device=wait_for_device)
        for warning in accepted.get("warnings", []):
            err.print("warning:", warning, style="yellow")
        campaign_id = accepted["campaign_id"]
        if not watch and timeout is None and not conditions:
            if as_json:
                show_json(accepted)
                return
            out.print(f"{campaign_id}: {accepted['total_jobs']} jobs")
            say(f"Follow it:  {how_to_call('watch', campaign_id)}")
            return
        say(f"{campaign_id}: {accepted['total_jobs']} jobs")
        _follow(client, campaign_id, as_json, timeout, conditions)


def _conditions(fail_on: list[str] | None) -> set[str]:
    """Return the conditions that were given, each alone or several in one list with commas.

    Raises:
        InvalidInput: one of them is unknown.
    """
    words = {word.strip() for given in fail_on or () for word in given.split(",")}
    for word in sorted(words - set(CONDITIONS)):
        raise InvalidInput(f"--fail-on {word!r}: {nearest(word, list(CONDITIONS))}")
    return words


def validate(recipe: RecipeFile, as_json: Json = False) -> None:
    """Check a recipe without submitting it. All mistakes are reported at once, each with its line. The exit code is 2 if there is one.

    Models that are files must exist. Networks known by name (NAMES) are made when they are first needed.

    Examples:

      fleetmark validate recipes/quickstart.yaml
      fleetmark validate sweep.yaml --json
    """
    from shared.recipes.cells import cells_of  # imported here, because only recipes need pydantic, which is slow to import

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
    from shared.recipes.cells import default_devices  # imported here, as above

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
    label: Annotated[
        list[str] | None, typer.Option(help="Show only campaigns with this label, as name=value. May be given several times.")
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List campaigns, newest first.

    Examples:

      fleetmark list
      fleetmark list --status running --json
      fleetmark list --label branch=main
    """
    for one in label or ():
        if "=" not in one:
            raise InvalidInput(f"--label {one!r}: a label is name=value")
    with connect(host, token) as client:
        found = client.listed("campaigns", "campaigns", limit, status=status, label=label or None, cursor=cursor)
    if as_json:
        show_json(found.items)
    else:
        out.print(table([one | {"outcome": {"status": campaign_outcome(one)}} for one in found.items], CAMPAIGN_COLUMNS))
    if more := next_page(how_to_call("list"), found, {"status": status, "label": label, "limit": limit}):
        say(more)
    if not found.items and not as_json and not (status or label or cursor):
        say(f"No campaign yet. Submit one:  {how_to_call('run', shown_recipe('quickstart.yaml'), '--watch')}")


def show(campaign_id: CampaignId, host: Host = None, token: Token = None, as_json: Json = False) -> None:
    """Show one campaign and its jobs.

    Examples:

      fleetmark show campaign-01jd9…
      fleetmark show campaign-01jd9… --json | jq .job_breakdown
    """
    with connect(host, token) as client:
        campaign = client.get(f"campaigns/{campaign_id}")
        if not as_json:
            _add_stages(client, campaign["jobs"])
    if as_json:
        show_json(campaign)
        return
    out.print(Text(campaign["name"], style="bold"), f" {campaign['campaign_id']}  created {local_time(campaign['created_at'])}")
    out.print(state(campaign_outcome(campaign)), f"({_counts(campaign)})")
    if campaign.get("labels"):
        out.print("labels", ", ".join(f"{name}={value}" for name, value in campaign["labels"].items()))
    jobs = [job | {"model": work_name(job["model"], job["options"])} for job in told_apart(campaign["jobs"])]
    out.print(table(jobs, JOB_COLUMNS))
    if len(campaign["jobs"]) < campaign["total_jobs"]:
        every = how_to_call("jobs", "--campaign", campaign_id, "-n", str(campaign["total_jobs"]))
        say(f"The first {len(campaign['jobs'])} of {campaign['total_jobs']}; all of them:  {every}")


def _add_stages(client: Client, listed: list[dict[str, Any]]) -> None:
    """Add to running jobs what they do at the moment, such as `fetching`. Of many running jobs only the first get it: each takes a call."""
    for job in [job for job in listed if job["status"] == JobStatus.RUNNING and "stage" not in job][:MAX_STAGES]:
        now = client.get(f"jobs/{job['job_id']}")["job"]
        job |= {name: now.get(name) for name in ("stage", "progress")}


def _counts(campaign: dict[str, Any]) -> str:
    return ", ".join(f"{count} {status}" for status, count in campaign["job_breakdown"].items() if count)


def watch(
    campaign_id: CampaignId,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Stop following after this number of seconds, with exit code 1. The campaign goes on.")
    ] = None,
    fail_on: FailOn = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Follow a campaign until it has ended, then show its results. The exit code is that of `run --watch`.

    Example:

      fleetmark watch campaign-01jd9…
    """
    conditions = _conditions(fail_on)
    with connect(host, token) as client:
        _follow(client, campaign_id, as_json, timeout, conditions)


def _follow(client: Client, campaign_id: str, as_json: bool, timeout_s: float | None, fail_on: set[str]) -> None:
    """Follow a campaign and show its results.

    Raises:
        typer.Exit: the campaign did not go well, it has not ended in time, or Ctrl-C was pressed.
    """
    try:
        campaign = follow(client, campaign_id, timeout_s=timeout_s)
    except KeyboardInterrupt:
        _say_it_goes_on(campaign_id)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if campaign["status"] == CampaignStatus.RUNNING:
        say(f"{timeout_s:g} s are over (--timeout)")
        _say_it_goes_on(campaign_id)
        raise typer.Exit(EXIT_FAILED)
    rows = read_results(client, campaign_id)
    if as_json:
        show_json({"campaign": campaign, "results": rows})
    else:
        show_rows(rows)
        show_verdicts(client, campaign_id)
        say(f"{campaign_id}: {campaign_outcome(campaign)}")
        say(f"As a file:   {how_to_call('results', campaign_id, '-o results.csv')}")
        say(f"The report:  {how_to_call('report', campaign_id, '--open')}   ({client.host}/api/campaigns/{campaign_id}/report)")
    for reason in (found := _failures(campaign, rows, fail_on)):
        say(f"exit code {EXIT_FAILED}: {reason}")
    if found:
        raise typer.Exit(EXIT_FAILED)


def _say_it_goes_on(campaign_id: str) -> None:
    say(f"The campaign goes on. Follow it again:  {how_to_call('watch', campaign_id)}")
    say(f"Cancel it:                              {how_to_call('stop', campaign_id)}")


def _failures(campaign: dict[str, Any], rows: list[dict[str, Any]], fail_on: set[str]) -> list[str]:
    """Return why a campaign that has ended did not go well. Some conditions count only if they are in `fail_on`."""
    counts, noisy = campaign["job_breakdown"], sum(row.get("NoiseGrade") == "noisy" for row in rows)
    found = {
        "the campaign was cancelled": campaign["status"] == CampaignStatus.CANCELLED,
        f"{campaign['failed_jobs']} jobs failed": campaign["failed_jobs"],
        "no job is complete": not counts["complete"],
        f"{counts['cancelled']} jobs were cancelled (--fail-on cancelled)": "cancelled" in fail_on and counts["cancelled"],
        f"{noisy} results are noisy (--fail-on noisy)": "noisy" in fail_on and noisy,
    }
    return [reason for reason, holds in found.items() if holds]


def read_results(client: Client, campaign_id: str) -> list[dict[str, Any]]:
    """Return the results of a campaign, one mapping for each row, with the column names of the CSV."""
    text = b"".join(client.stream(f"campaigns/{campaign_id}/results", format="jsonl")).decode()
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def show_results(client: Client, campaign_id: str) -> None:
    show_rows(read_results(client, campaign_id))


def show_rows(rows: list[dict[str, Any]]) -> None:
    made, notes = results_table(rows)
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
