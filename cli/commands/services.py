"""Implements `fleetmark services`: the services that workers run for a load."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.fitting import Fitting
from cli.options import Host, Json, Token, command_group, connect
from cli.tables import table
from cli.terminal import out, say, show_json

COLUMNS = [
    ("Service", "service_id"),
    ("Type", "type"),
    ("State", "state"),
    ("Address", "address"),
    ("Version", "version"),
    ("Device", "device_name"),
    ("Since", "started_at"),
]

services_app = command_group()


@services_app.callback()
def services(context: typer.Context, host: Host = None, token: Token = None, as_json: Json = False) -> None:
    """List the services that workers run at the moment for a load. `stop` ends one.

    Examples:

      fleetmark services
      fleetmark services stop campaign-01jd9…-job-1.1
    """
    if context.invoked_subcommand is not None:
        return
    with connect(host, token) as client:
        found = client.get("services")["services"]
    if as_json:
        show_json(found)
        return
    out.print(Fitting(table(found, COLUMNS)))
    if not found:
        say("No worker runs a service. One is started for a job whose recipe has a `service` without an `address`.")


@services_app.command()
def stop(
    service_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a service, as `fleetmark services` shows it.")],
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Stop a service. Its job is cancelled, because it has nothing to measure any more.

    A service that is idle between two jobs of a campaign is ended alone. The next job of the campaign starts a new one.

    Example:

      fleetmark services stop campaign-01jd9…-job-1.1
    """
    with connect(host, token) as client:
        stopped = client.post(f"services/{service_id}/stop")
    if as_json:
        show_json(stopped)
    else:
        of_job = f"{stopped['job_id']} is cancelled" if stopped.get("job_cancelled", True) else f"{stopped['job_id']} has already ended"
        say(f"{stopped['service_id']} is being stopped, and {of_job}.")
