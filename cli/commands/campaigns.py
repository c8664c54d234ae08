"""Implements the commands for campaigns that are there: list, show and stop."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from cli.client import Client
from cli.errors import EXIT_USAGE
from cli.fitting import Fitting
from cli.options import Cursor, Host, Json, Limit, Token, connect
from cli.tables import campaign_outcome, local_time, next_page, state, table, told_apart, work_name
from cli.terminal import out, say, show_error, show_json
from shared.errors import FleetmarkError, InvalidInput
from shared.installation import how_to_call, shown_recipe
from shared.jobs import JobStatus

CampaignId = Annotated[str, typer.Argument(metavar="ID", help="The id of a campaign, as `fleetmark list` shows it.")]
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
MAX_STAGES = 10  # the stage of each job takes one call


def list_campaigns(
    status: Annotated[str | None, typer.Option(help="Show only campaigns with this status: running, completed or cancelled.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Show only campaigns with this label, as name=value. May be given several times.")
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    ids: Annotated[bool, typer.Option("--ids", help="Print only the ids of the campaigns, one on each line, for scripts.")] = False,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List campaigns, newest first.

    Examples:

      fleetmark list
      fleetmark show $(fleetmark list --ids --limit 1)
      fleetmark list --status running --json
      fleetmark list --label branch=main
    """
    for one in label or ():
        if "=" not in one:
            raise InvalidInput(f"--label {one!r}: a label is name=value")
    with connect(host, token) as client:
        found = client.listed("campaigns", "campaigns", limit, status=status, label=label or None, cursor=cursor)
    if ids:
        for campaign in found.items:
            out.print(campaign["campaign_id"])
        if limit == 1:
            return  # this asks for the newest campaign, not for the first page of a list
    elif as_json:
        show_json(found.items)
    else:
        out.print(Fitting(table([one | {"outcome": {"status": campaign_outcome(one)}} for one in found.items], CAMPAIGN_COLUMNS)))
    if more := next_page(how_to_call("list", *(["--ids"] if ids else [])), found, {"status": status, "label": label, "limit": limit}):
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
    jobs = [job | {"model": work_name(job["model"], job["options"], job.get("parameters"))} for job in told_apart(campaign["jobs"])]
    out.print(Fitting(table(jobs, JOB_COLUMNS)))
    if len(campaign["jobs"]) < campaign["total_jobs"]:
        every = how_to_call("jobs", "--campaign", campaign_id, "-n", str(campaign["total_jobs"]))
        say(f"The first {len(campaign['jobs'])} of {campaign['total_jobs']}; all of them:  {every}")


def _add_stages(client: Client, listed: list[dict[str, Any]]) -> None:
    """Add to running jobs what they do at the moment, such as `fetching`. Only the first jobs get it, because each takes one call."""
    for job in [job for job in listed if job["status"] == JobStatus.RUNNING and "stage" not in job][:MAX_STAGES]:
        now = client.get(f"jobs/{job['job_id']}")["job"]
        job |= {name: now.get(name) for name in ("stage", "progress")}


def _counts(campaign: dict[str, Any]) -> str:
    return ", ".join(f"{count} {status}" for status, count in campaign["job_breakdown"].items() if count)


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
