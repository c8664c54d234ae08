"""Implements the command that shows the report of a campaign."""

from __future__ import annotations

import json
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from cli.client import Client
from cli.commands.campaigns import CampaignId
from cli.errors import ApiError
from cli.files import write_whole
from cli.options import Host, Json, Token, connect
from cli.terminal import out, say, show_json
from shared.clock import SystemClock
from shared.errors import InvalidInput
from shared.jobs import CampaignStatus

FILES_WAIT_S, POLL_S = 60.0, 0.2  # the files of a large campaign take some seconds


def report(
    campaign_id: CampaignId,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page with its pictures in the browser.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file. Its ending decides: .html (with the pictures), .md or .json.")
    ] = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show the report of a campaign that has ended: what is fastest, how it was measured, and what failed.

    Examples:

      fleetmark report campaign-01jd9…
      fleetmark report campaign-01jd9… --open
      fleetmark report campaign-01jd9… -o report.html
    """
    if output is not None and output.suffix not in (".html", ".md", ".json"):
        raise InvalidInput(f"no format of a report belongs to the ending of {output}: use .html, .md or .json")
    with connect(host, token) as client:
        _wait_for_files(client, campaign_id)
        if output is not None:
            _write(output, _as(output.suffix, client, campaign_id))
        if as_json:
            show_json(json.loads(_text(client, campaign_id, "report.json")))
        elif open_it:
            _open(output if output is not None and output.suffix == ".html" else None, client, campaign_id)
        elif output is None:
            _print(_text(client, campaign_id, "report.md"))


def _wait_for_files(client: Client, campaign_id: str) -> None:
    """Wait until the files of a campaign that has just ended are written."""
    clock = SystemClock()
    end = clock.monotonic() + FILES_WAIT_S
    while clock.monotonic() < end:
        campaign = client.get(f"campaigns/{campaign_id}", jobs="false")
        if campaign["status"] == CampaignStatus.RUNNING or campaign["reported_at"]:
            return
        clock.sleep(POLL_S)


def _text(client: Client, campaign_id: str, name: str) -> str:
    return b"".join(client.stream(f"campaigns/{campaign_id}/{name}")).decode()


def _print(page: str) -> None:
    if not sys.stdout.isatty():
        out.print(page, end="", soft_wrap=True)
        return
    from cli.report_page import ReportPage  # imported here, because few commands need Markdown and it is slow to import

    out.print(ReportPage(page, hyperlinks=False))


def _as(ending: str, client: Client, campaign_id: str) -> str:
    if ending != ".html":
        return _text(client, campaign_id, f"report{ending}")
    from cli.pages import html_page  # imported here for the same reason

    def picture(name: str) -> bytes | None:
        try:
            return b"".join(client.stream(f"campaigns/{campaign_id}/artifacts/{name}"))
        except ApiError as error:
            if error.http_status != 404:
                raise
            return None

    return html_page(_text(client, campaign_id, "report.md"), campaign_id, picture)


def _write(file: Path, content: str) -> None:
    write_whole(file, [content.encode()])
    say(f"Wrote {file}")


def _open(written: Path | None, client: Client, campaign_id: str) -> None:
    """Open the page in a browser. Without a file of the user's, it is written to the system's temporary folder."""
    if written is None:
        written = Path(tempfile.mkdtemp(prefix="fleetmark-report-")) / f"{campaign_id}.html"
        _write(written, _as(".html", client, campaign_id))
    if not webbrowser.open(written.resolve().as_uri()):
        say("There is no browser here; open the file on another machine")
