"""Implements the command that lets scorers judge the answers of a campaign again."""

from __future__ import annotations

from typing import Any

import typer

from cli.commands.campaigns import CampaignId
from cli.errors import EXIT_FAILED
from cli.fitting import Fitting
from cli.options import Host, Json, Token, connect
from cli.scores import await_scores
from cli.tables import table
from cli.terminal import counted, out, say, show_json

COLUMNS = [
    ("Job", "job_id"),
    ("Score", "name"),
    ("Mean", "mean"),
    ("95 % interval", "interval"),
    ("Documents", "documents"),
    ("Why", "why"),
]


def score(campaign_id: CampaignId, host: Host = None, token: Token = None, as_json: Json = False) -> None:
    """Judge the answers of a campaign again, without measuring again. Its CSV, report and figures are rewritten.

    This is useful after a scorer was installed or has a new version. The exit code is 1 if the answers are still not judged after a while.

    Examples:

      fleetmark score campaign-01jd9…
      fleetmark score campaign-01jd9… --json | jq '.quality[].scores'
    """
    with connect(host, token) as client:
        marked = client.post(f"campaigns/{campaign_id}/score")
        campaign = await_scores(client, client.get(f"campaigns/{campaign_id}", jobs="false"), files=True)
        done = bool(campaign["reported_at"])
        report: dict[str, Any] = client.get(f"campaigns/{campaign_id}/report.json") if done else {}
    quality = report.get("quality", [])
    judged = [one for one in quality if one["scorers"]]
    if as_json:
        show_json(marked | {"status": "scored" if judged else "scoring", "quality": quality})
    elif quality:
        out.print(Fitting(table([row for one in quality for row in _rows(one)], COLUMNS)))
        say(f"{campaign_id}: the answers of {counted(len(judged), 'job')} are judged")
    if not done or not judged:
        say(f"The answers of {counted(marked['jobs'], 'job')} are not judged; the log of the orchestrator says why")
        raise typer.Exit(EXIT_FAILED)


def _rows(one: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "job_id": one["job_id"],
            "name": name,
            "mean": f"{found['value']:.4g} {found['unit']}" if found["value"] is not None else "none",
            "interval": f"{found['interval'][0]:.4g} to {found['interval'][1]:.4g}" if found["interval"] else "",
            "documents": f"{found['n']} of {one['documents']}",
            "why": found["missing"] or "",
        }
        for name, found in one["scores"].items()
    ]
