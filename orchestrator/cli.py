"""Defines `python -m orchestrator.cli`, which starts the processes of the control plane."""

from __future__ import annotations

from shared import collector

if __name__ == "__main__":
    collector.pause()  # a fifth of the processor time of the imports below

import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from orchestrator.app import ControlPlane
from orchestrator.needs import log_what_is_missing
from orchestrator.operations.context import Context
from orchestrator.operations.tokens import create_token, is_administered, revoke_token
from orchestrator.reports.columns import utc_text
from orchestrator.settings import Settings
from orchestrator.store import Store, tokens
from orchestrator.store.schema import current, has_table, migrate, require_current
from orchestrator.store.tables import Token
from shared.addresses import shown_address
from shared.capabilities import add_engines_of_packages
from shared.controls import visible
from shared.errors import FleetmarkError, InvalidInput, Unavailable
from shared.log import JsonLines, Masked, writes_json
from shared.masking import masked
from shared.names import OneLine
from shared.streams import settle_streams
from shared.tokens import Role

log = logging.getLogger(__name__)

SHORT_TOKEN = 16  # characters; a token made as we recommend has 64

app = typer.Typer(help="Run the control plane of Fleetmark.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


LogFormatOption = Annotated[
    str | None, typer.Option("--log-format", help="How log lines are written: auto, text or json.", envvar="FLEETMARK_LOG_FORMAT")
]


def _settings(**given: Any) -> Settings:
    try:
        add_engines_of_packages()
    except InvalidInput as error:
        raise typer.BadParameter(error.detail) from None
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper() or "TOKEN_FILE"
        why = first["msg"].removeprefix("Value error, ")
        value = shown_address(str(first["input"])) if name.endswith("_URL") else first["input"]
        shown = "" if name in ("TOKEN", "TOKEN_FILE") else masked(f", not {value!r}")
        raise typer.BadParameter(f"FLEETMARK_{name}: {why}{shown}") from None


def _log(settings: Settings, *filters: logging.Filter) -> None:
    handler = logging.StreamHandler()
    for one in filters:
        handler.addFilter(one)
    if writes_json(settings.log_format, sys.stderr):
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(Masked("%(asctime)s %(levelname)-7s %(name)s [%(request_id)s]: %(message)s", defaults={"request_id": "-"}))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "alembic", "matplotlib", "kombu", "amqp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for sentence in settings.old_names:
        log.warning("%s", sentence)


def check_bind(settings: Settings, is_administered: Callable[[], bool]) -> None:
    """Refuse to listen on the network without a token.

    Args:
        is_administered: says whether the store holds a usable token of an administrator. It is called only if no token is configured.

    Raises:
        BadParameter: the host is no address of this machine, or the API would be open to everyone on the network.
    """
    from orchestrator.api.hosts import resolves_to_loopback

    host, token = settings.host, settings.token
    try:
        if resolves_to_loopback(host):
            return
    except OSError as error:
        raise typer.BadParameter(f"--host {host!r} is no address of this machine: {error}") from error
    if token is not None:
        if len(token.get_secret_value()) < SHORT_TOKEN:
            log.warning("FLEETMARK_TOKEN has fewer than %d characters: on %s it can be guessed; openssl rand -hex 32", SHORT_TOKEN, host)
        return
    try:
        if is_administered():
            return
    except Unavailable as error:
        log.warning("whether there is a token is not known (%s); nobody gets in without one", error.detail)
        return
    raise typer.BadParameter(
        f"listening on {host} without a token would let anyone in: set one (export FLEETMARK_TOKEN=$(openssl rand -hex 32)), "
        "make one (python -m orchestrator.cli token create me --role admin), or listen on 127.0.0.1"
    )


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.", envvar="FLEETMARK_HOST")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on. 0 takes any free port.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Serve https with this certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The private key of the certificate (PEM).")] = None,
    only_api: Annotated[
        bool, typer.Option("--only-api", help="Run only the API. Consumer and watch then run in separate processes.")
    ] = False,
    log_format: LogFormatOption = None,
) -> None:
    """Serve the API, with the results consumer and the watch beside it.

    Example: python -m orchestrator.cli serve --port 5000
    """
    # Imported here, because FastAPI takes half a second to import, and the other commands serve nothing.
    import uvicorn

    from orchestrator.api import make_api
    from orchestrator.api.access import RequestIds
    from orchestrator.api.connections import open_sockets, require_listenable, server_config

    settings = _settings(host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, log_format=log_format)
    _log(settings, RequestIds())
    try:
        require_listenable(settings.host, settings.port)
    except OSError as error:
        raise typer.BadParameter(f"--host {settings.host} --port {settings.port} cannot be listened on: {error}") from error
    plane = ControlPlane(settings)
    try:
        log_what_is_missing(plane.context, files=True)
        plane.prepare(migrating=not only_api)
        check_bind(settings, lambda: has_table(plane.context.store, Token.__tablename__) and is_administered(plane.context))
        if not only_api:
            plane.start_consumer()
            plane.start_watch()
        config = server_config(make_api(plane.context), settings)
        try:
            sockets = open_sockets(settings.host, settings.port)
        except OSError as error:
            raise typer.BadParameter(f"--host {settings.host} --port {settings.port} cannot be listened on: {error}") from error
        collector.settle()
        uvicorn.Server(config).run(sockets)
    finally:
        plane.stop()


def _run_until_stopped(plane: ControlPlane) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: plane.request_stop())
    collector.settle()
    plane.wait()
    plane.stop()


@app.command()
def consumer(log_format: LogFormatOption = None) -> None:
    """Run the consumer: record results, and write the files of campaigns that end.

    Example: python -m orchestrator.cli consumer --log-format json
    """
    settings = _settings(log_format=log_format)
    _log(settings)
    plane = ControlPlane(settings)
    log_what_is_missing(plane.context, files=True)
    plane.prepare(migrating=False)
    plane.start_consumer()
    _run_until_stopped(plane)


@app.command()
def watch(log_format: LogFormatOption = None) -> None:
    """Run the watch: check for silent workers, overdue jobs and lost messages.

    Example: python -m orchestrator.cli watch --log-format json
    """
    settings = _settings(log_format=log_format)
    _log(settings)
    plane = ControlPlane(settings)
    log_what_is_missing(plane.context, files=False)
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


tokens_app = typer.Typer(
    help="Manage bearer tokens directly in the database. This makes the first token, or a new one if all are lost.", no_args_is_help=True
)
app.add_typer(tokens_app, name="token")


@contextlib.contextmanager
def _store_of_tokens() -> Iterator[Context]:
    """Provide the context with a current database. An empty database gets its tables; an old one is refused, as it needs `migrate`."""
    settings = _settings()
    _log(settings)
    plane = ControlPlane(settings)
    try:
        if current(plane.context.store) is None:
            migrate(plane.context.store)
        require_current(plane.context.store)
        yield plane.context
    except FleetmarkError as error:
        typer.echo(error.detail, err=True)
        raise typer.Exit(3 if isinstance(error, Unavailable) else 2) from error
    finally:
        plane.stop()


def _one_line(name: str) -> str:
    try:
        return str(TypeAdapter(OneLine).validate_python(name))
    except ValidationError as error:
        raise typer.BadParameter(error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")) from None


@tokens_app.command("create")
def create_token_command(
    name: Annotated[str, typer.Argument(help="Says who or what the token is for.", callback=_one_line)],
    role: Annotated[Role, typer.Option(help="The role, which says what the token allows.")] = Role.ADMIN,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, help="The number of days for which the token is valid. By default it is valid until it is revoked."),
    ] = None,
) -> None:
    """Make a token and print it once, as it is not kept. A running orchestrator accepts it within seconds.

    Example: python -m orchestrator.cli token create me --role admin
    """
    with _store_of_tokens() as ctx:
        _, secret = create_token(ctx, name, role, days)
    typer.echo(secret)


@tokens_app.command("list")
def list_tokens_command() -> None:
    """List every token that is not revoked: id, role, last use, name."""
    with _store_of_tokens() as ctx, ctx.store.read() as session:
        for token in tokens.page(session, revoked=False, limit=100_000):
            last_used = utc_text(token.last_used_at) if token.last_used_at is not None else "never used"
            typer.echo(f"{token.id}  {token.role:<9}  {last_used:<24}  {visible(token.name)}")


@tokens_app.command("revoke")
def revoke_token_command(token_id: Annotated[str, typer.Argument(help="The token's id, as `list` shows it.")]) -> None:
    """Revoke a token. A running orchestrator refuses it within seconds."""
    with _store_of_tokens() as ctx:
        token = revoke_token(ctx, token_id)
    typer.echo(f"{token.id} ({token.role}, {visible(token.name)}) is revoked")


if __name__ == "__main__":
    settle_streams()
    collector.settle()
    app()
