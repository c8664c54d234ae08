"""Defines the options that many commands share, and makes a client from them."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client import Client
from cli.settings import CliSettings, load_settings
from cli.terminal import say
from shared.errors import InvalidInput
from shared.tokens import SHOWN_IN_THE_PROCESS_LIST, usable_token


def warn_of_the_process_list(token: str | None) -> str | None:
    """Print a warning if the token is given on the command line, where all users of this machine can read it. Return the token."""
    if token is not None:
        say(f"warning: {SHOWN_IN_THE_PROCESS_LIST}")
    return token


Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        help="The address of the orchestrator, such as http://name:5000. [dim]\\[env: FLEETMARK_HOST; default: http://127.0.0.1:5000][/]",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        callback=warn_of_the_process_list,
        help="The bearer token, if the orchestrator asks for one. Better set it in the environment, where `ps` does not show it. "
        "[dim]\\[env: FLEETMARK_TOKEN, FLEETMARK_TOKEN_FILE][/]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Go on behind this item, as the end of the page before says.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most this number of items.")]


def command_group() -> typer.Typer:
    """Return the app of a command that does something alone and has commands below it, such as `fleetmark workers`."""
    return typer.Typer(
        invoke_without_command=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        subcommand_metavar="[COMMAND]",
    )


def connect(host: str | None, token: str | None, settings: CliSettings | None = None) -> Client:
    """Make a client of the orchestrator. Address and token come from the command line, or else from the environment.

    Raises:
        InvalidInput: the token on the command line cannot be one, or a setting is not valid.
    """
    settings = settings or load_settings()
    try:
        given = usable_token(token) if token else settings.token
    except ValueError as error:
        raise InvalidInput(f"--token: {error}") from error
    return Client(settings.address(host), given, settings.ca_file)
