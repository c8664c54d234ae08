"""Implements `fleetmark prune`, which removes what is old."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client import Client
from cli.durations import duration
from cli.fitting import Fitting
from cli.options import Host, Json, Token, connect
from cli.tables import table
from cli.terminal import err, out, say, show_json

COLUMNS = [("Campaign", "campaign_id"), ("Name", "name"), ("Ended", "ended_at"), ("Jobs", "jobs"), ("MB", "mb")]
MODEL_COLUMNS = [("Model", "name"), ("SHA-256", "sha256"), ("MB", "mb")]


def prune(
    older_than: Annotated[str, typer.Option(help="The age from which things are removed: 30d, 12w, 36h.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it. Without this option, nothing is removed.")] = False,
    campaigns: Annotated[bool, typer.Option(help="Remove campaigns: records, results and files.")] = True,
    models: Annotated[bool, typer.Option(help="Remove uploaded models that no job names.")] = True,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Remove campaigns that ended long ago, with all their files, and uploaded models that no job names.

    Without --yes this only shows what would be removed. Running campaigns are never touched. What is removed cannot be brought back, except
    from a backup. Models that only the removed campaigns named are removed too.

    Examples:

      fleetmark prune --older-than 30d
      fleetmark prune --older-than 30d --yes
      fleetmark prune --older-than 90d --no-campaigns --yes
    """
    body = {"older_than_s": duration(older_than, "--older-than").total_seconds(), "campaigns": campaigns, "models": models}
    with connect(host, token) as client:
        found = _all(client, body) if yes else client.post("prune", body)
    if as_json:
        show_json(found)
    else:
        _show(found, yes, older_than)
    if any(one["left"] for one in found["campaigns"]):
        raise typer.Exit(1)


def _all(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    """Remove everything, as many at once as the orchestrator takes. Return what was removed, as one answer."""
    total: dict[str, Any] = {"removed": True, "campaigns": [], "models": [], "size": 0, "more": False}
    while True:
        with err.status(f"Removing: {len(total['campaigns'])} campaigns are gone"):
            answer = client.post("prune", body | {"confirm": True})
        for name in ("campaigns", "models"):
            total[name] += answer[name]
        total["size"] += answer["size"]
        if not answer["more"] or not answer["campaigns"]:
            return total


def _show(found: dict[str, Any], removed: bool, age: str) -> None:
    for name, columns in (("campaigns", COLUMNS), ("models", MODEL_COLUMNS)):
        if found[name]:
            out.print(Fitting(table([one | {"mb": f"{one['size'] / 2**20:.1f}"} for one in found[name]], columns)))
    for one in found["campaigns"]:
        if one["left"]:
            say(f"warning: not all files of {one['campaign_id']} could be removed: {one['left']}; this is tried again within the hour")
    counts = f"{len(found['campaigns'])} campaigns and {len(found['models'])} models, {found['size'] / 2**20:.1f} MB"
    if removed:
        say(f"Removed {counts}")
    elif found["campaigns"] or found["models"]:
        more = " (and more campaigns)" if found["more"] else ""
        say(f"Would remove {counts}{more}. Remove it:  fleetmark prune --older-than {age} --yes")
    else:
        say(f"Nothing is older than {age}")
