"""Options that many commands share, and the connection they describe."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client import Client
from cli.settings import CliSettings, load_settings

Host = Annotated[
    str | None,
    typer.Option(
        "--host", help="Address of the orchestrator: http://name:5000. [dim]\\[env: FLEETMARK_HOST; default: http://127.0.0.1:5000][/]"
    ),
]
Token = Annotated[
    str | None, typer.Option("--token", help="Bearer token, where the orchestrator asks for one. [dim]\\[env: FLEETMARK_TOKEN][/]")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most this many.")]


def connect(host: str | None, token: str | None, settings: CliSettings | None = None) -> Client:
    """A client for what the command line and the environment say."""
    settings = settings or load_settings()
    return Client(settings.address(host), token or settings.secret)
