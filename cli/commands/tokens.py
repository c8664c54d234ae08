"""Implements the commands for bearer tokens, which are for administrators."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.fitting import Fitting
from cli.options import Host, Json, Token, connect
from cli.tables import table
from cli.terminal import out, say, show_json
from shared.tokens import Role

COLUMNS = [
    ("Token", "token_id"),
    ("Name", "name"),
    ("Role", "role"),
    ("Made", "created_at"),
    ("Expires", "expires_at"),
    ("Last used", "last_used_at"),
    ("Revoked", "revoked_at"),
]

app = typer.Typer(
    help="Manage bearer tokens, which say who may call the orchestrator and for what.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Says who or what the token is for.")],
    role: Annotated[
        Role,
        typer.Option(help="A viewer reads, a submitter also submits and cancels, a worker is a device, and an admin may do everything."),
    ],
    days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, help="The number of days for which the token is valid. By default it is valid until it is revoked."),
    ] = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it. It is shown only once, and the orchestrator does not store it in readable form.

    The first token must have the role admin. From then on every call needs a token, also those of workers. If the orchestrator listens
    beyond 127.0.0.1, set the first token as FLEETMARK_TOKEN, or make it on that machine:  python -m orchestrator.cli token create NAME

    Examples:

      fleetmark token create me --role admin
      fleetmark token create lab-pi --role worker --days 90 > lab-pi.token
    """
    with connect(host, token) as client:
        is_first = not client.get("tokens/current")["name"]
        made = client.post("tokens", {"name": name, "role": role, "valid_days": days})
    if as_json:
        show_json(made)
    else:
        say(f"{made['token_id']} ({made['role']}, {made['name']}). Keep it now, it is not shown again:")
        out.print(made["secret"], soft_wrap=True)
    if is_first:
        say("From now on every call needs a token: set FLEETMARK_TOKEN here, and start workers again with a token of the role worker.")


@app.command("list")
def list_tokens(
    revoked: Annotated[bool, typer.Option("--revoked", help="Show revoked tokens too.")] = False,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the tokens, newest first, without their secrets. The token in the orchestrator's FLEETMARK_TOKEN is not listed.

    Example:

      fleetmark token list --revoked
    """
    with connect(host, token) as client:
        found = list(client.pages("tokens", "tokens", revoked="true" if revoked else None))
    if as_json:
        show_json(found)
        return
    out.print(Fitting(table(found, COLUMNS if revoked else COLUMNS[:-1])))


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id, as `fleetmark token list` shows it.")],
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Revoke a token. The orchestrator refuses it after a few seconds at most.

    Example:

      fleetmark token revoke token-01jd9…
    """
    with connect(host, token) as client:
        gone = client.delete(f"tokens/{token_id}")
    if as_json:
        show_json(gone)
        return
    out.print(f"{gone['token_id']} ({gone['role']}, {gone['name']}) is revoked", soft_wrap=True)
