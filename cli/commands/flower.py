"""Implements the command that starts Flower."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from typing import Annotated

import typer

from cli.brokers import require_redis
from cli.embedded import Stack
from cli.errors import PartFailed, Unreachable
from cli.ports import require_free
from cli.settings import LOOPBACK, CliSettings, load_settings
from cli.terminal import say
from shared.addresses import login_of
from shared.errors import InvalidInput
from shared.hosts import in_url, is_loopback, reached_at
from shared.installation import how_to_call, how_to_install
from shared.tls import broker_trusting

FLOWER_PORT = 5555
FLOWER_USER = "fleetmark"


def flower(
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="The address of the broker. [dim]\\[env: FLEETMARK_REDIS_URL; default: the broker of the running `fleetmark up`][/]"
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="The port of Flower.")] = FLOWER_PORT,
    bind: Annotated[
        str, typer.Option(help="The address to listen on. Any address other than 127.0.0.1 needs FLOWER_BASIC_AUTH=user:password.")
    ] = LOOPBACK,
) -> None:
    """Start Flower, the monitor for Celery, for Fleetmark's queues, workers and tasks. Set its other options by FLOWER_* variables.

    Flower shows, and changes nothing: its buttons to stop a worker or to revoke a task are refused. Use `fleetmark stop` instead.
    On a system with tokens it asks for a login: FLOWER_BASIC_AUTH, or else the user `fleetmark` with the token as the password.

    Examples:

      fleetmark flower
      FLOWER_BASIC_AUTH=me:secret fleetmark flower --bind 0.0.0.0 --redis-url redis://lab:6379/0
    """
    settings = load_settings(redis_url)
    if find_spec("flower") is None:
        raise PartFailed(f"Flower is not installed: {how_to_install('orchestrator')}")
    url = settings.redis_url or Stack.announced_redis_url(settings.data_dir)
    if url is None:
        raise InvalidInput(
            f"no broker is known: nothing is up in {settings.data_dir.resolve()}. "
            f"Run `{how_to_call('up')}` here, or name the broker with --redis-url or FLEETMARK_REDIS_URL"
        )
    if not is_loopback(bind) and not settings.flower_basic_auth:
        raise InvalidInput(f"Flower on {bind} would let anyone in: set FLOWER_BASIC_AUTH=user:password, or stay on 127.0.0.1")
    login = _flower_login(settings, url)
    require_free(bind, port, "--port")
    with contextlib.suppress(Unreachable):  # Flower waits for an unreachable broker itself
        require_redis(url, settings.ca_file)
    from cli.flower import run_flower  # imported here because Celery takes half a second to import

    say(f"Flower: http://{in_url(reached_at(bind))}:{port}")
    run_flower(broker_trusting(url, settings.ca_file), bind, port, login=login, reads_settings_file=settings.flower_conf is not None)


def _flower_login(settings: CliSettings, broker: str) -> str | None:
    """Return the login that Flower must ask for, or None if it is configured elsewhere or the system has no tokens.

    Raises:
        InvalidInput: the system asks for logins, and none is known for Flower.
    """
    if settings.flower_basic_auth or settings.flower_conf is not None:
        return None
    secret = settings.token
    if secret is not None and "," not in secret:  # Flower takes a comma for the end of a login
        say(f"Flower asks for a login: user {FLOWER_USER}, and the token (FLEETMARK_TOKEN) as the password")
        return f"{FLOWER_USER}:{secret}"
    if secret is not None or login_of(broker):
        raise InvalidInput("this system asks for logins, so Flower must ask for one too: set FLOWER_BASIC_AUTH=user:password")
    return None
