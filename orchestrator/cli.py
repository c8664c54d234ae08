"""`python -m orchestrator.cli`: the processes of the control plane."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
from typing import Annotated, Any

import typer
import uvicorn
from pydantic import ValidationError

from orchestrator.api import make_api
from orchestrator.api.access import RequestIds
from orchestrator.app import ControlPlane
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.schema import current, migrate
from shared.errors import FleetmarkError

app = typer.Typer(help="The control plane of Fleetmark.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _settings(**given: Any) -> Settings:
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        why = first["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"FLEETMARK_{name}: {why}, not {first['input']!r}") from error


def _log(settings: Settings) -> None:
    handler = logging.StreamHandler()
    handler.addFilter(RequestIds())
    form = "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s]: %(message)s"
    logging.basicConfig(level=settings.log_level.upper(), format=form, handlers=[handler], force=True)
    for noisy in ("httpx", "alembic", "matplotlib", "kombu", "amqp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def is_loopback(host: str) -> bool:
    """Whether everything that `host` resolves to stays on this machine."""
    try:
        addresses = {item[4][0] for item in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise typer.BadParameter(f"--host {host!r} is no address of this machine: {error}") from error
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def check_bind(host: str, token: object) -> None:
    """Open to the network and to everyone is refused."""
    if token is None and not is_loopback(host):
        raise typer.BadParameter(
            f"listening on {host} without a token would let anyone in: set one (export FLEETMARK_TOKEN=$(openssl rand -hex 32)), "
            "or listen on 127.0.0.1"
        )


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", envvar="FLEETMARK_HOST")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    only_api: Annotated[bool, typer.Option("--only-api", help="The API alone: consumer and watch run in processes of their own.")] = False,
) -> None:
    """Serve the API, with the results consumer and the watch beside it.

    Example: python -m orchestrator.cli serve --port 5000
    """
    settings = _settings(host=host, port=port)
    _log(settings)
    check_bind(settings.host, settings.token)
    plane = ControlPlane(settings)
    plane.prepare(migrating=not only_api)
    if not only_api:
        plane.start_consumer()
        plane.start_watch()
    config = uvicorn.Config(
        make_api(plane.context), host=settings.host, port=settings.port, log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    try:
        uvicorn.Server(config).run()
    finally:
        plane.stop()


def _run_until_stopped(plane: ControlPlane) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: plane.request_stop())
    plane.wait()
    plane.stop()


@app.command()
def consumer() -> None:
    """Take results into the store and write the files of campaigns that end."""
    settings = _settings()
    _log(settings)
    plane = ControlPlane(settings)
    plane.prepare(migrating=False)
    plane.start_consumer()
    _run_until_stopped(plane)


@app.command()
def watch() -> None:
    """Look after workers and jobs: silence, deadlines, messages that vanished."""
    settings = _settings()
    _log(settings)
    plane = ControlPlane(settings)
    plane.prepare(migrating=False)
    plane.start_watch()
    _run_until_stopped(plane)


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database to the revision that this version needs."""
    settings = _settings()
    _log(settings)
    store = Store(settings.database_url)
    try:
        before = current(store)
        migrate(store)
        typer.echo(f"revision {before or 'none'} -> {current(store)}")
    except FleetmarkError as error:
        typer.echo(error.detail, err=True)
        raise typer.Exit(3) from error
    finally:
        store.close()


if __name__ == "__main__":
    app()
