"""Implements `fleetmark redis-acl`, which creates the logins of the broker."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from cli.brokers import require_redis
from cli.embedded import Stack
from cli.errors import Unreachable
from cli.settings import CliSettings, load_settings
from cli.terminal import say
from shared.addresses import with_login
from shared.brokers import database_of, shown_place
from shared.errors import InvalidInput
from shared.installation import how_to_call
from shared.protocol.logins import FLOWER, ORCHESTRATOR, flower_rules, orchestrator_rules, password_rule, setuser
from shared.tls import MEND, broker_trusting, refusal

if TYPE_CHECKING:
    import redis

SOMEWHERE = "redis://HOST:6379/0"


@dataclass(frozen=True)
class User:
    """Describes one of the fixed logins. `address` contains the password if this command has made it, and is None otherwise."""

    what: str
    rules: list[str]
    address: str | None


def redis_acl(
    apply: Annotated[bool, typer.Option("--apply", help="Create the users at the broker instead of printing an ACL file.")] = False,
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="The address of the broker. `--apply` needs the login of an administrator. By default it uses the running `fleetmark up`. "
            "[dim]\\[env: FLEETMARK_REDIS_URL][/]"
        ),
    ] = None,
) -> None:
    """Make Redis logins for the orchestrator and Flower, each with only the rights that it needs.

    The command prints an ACL file for `redis-server --aclfile`, with hashes of the passwords, or creates the users itself (`--apply`).
    On standard error it prints the addresses for the orchestrator and Flower with their new passwords. Workers get their logins from
    the orchestrator when they enrol (FLEETMARK_BROKER_LOGINS=true). This needs Redis 7.0 or newer, or Valkey.

    Examples:

      fleetmark redis-acl > users.acl
      FLEETMARK_REDIS_URL=redis://:secret@lab:6379/0 fleetmark redis-acl --apply
    """
    settings = load_settings(redis_url)
    url = settings.redis_url or (Stack.announced_redis_url(settings.data_dir) if apply else None)
    if apply and url is None:
        raise InvalidInput(
            f"name the broker, with the login of an administrator: --redis-url or FLEETMARK_REDIS_URL; or run `{how_to_call('up')}` here"
        )
    users = list(_users(settings, url or SOMEWHERE))
    if apply:
        require_redis(str(url), settings.ca_file)
        _make(broker_trusting(str(url), settings.ca_file), users)
    else:
        # The first line disables the user `default`, who needs no password.
        sys.stdout.write("".join(f"user {' '.join(rules)}\n" for rules in [["default", "off"], *(user.rules for user in users)]))
    for user in users:
        if user.address is not None:
            say(f"# {user.what}\nFLEETMARK_REDIS_URL={user.address}")


def _users(settings: CliSettings, url: str) -> Iterator[User]:
    database = database_of(url)
    fixed: list[tuple[str, str, str | None, list[str]]] = [
        (
            "the orchestrator: API, consumer and watch",
            ORCHESTRATOR,
            settings.orchestrator_redis_password,
            orchestrator_rules(database),
        ),
        ("Flower", FLOWER, settings.flower_redis_password, flower_rules(database)),
    ]
    for what, name, given, rules in fixed:
        password = given if given is not None else secrets.token_urlsafe(32)
        address = with_login(url, f"{name}:{quote(password, safe='')}")
        yield User(what, setuser(name, password_rule(password), rules), address if given is None else None)


def _make(url: str, users: list[User]) -> None:
    import redis  # imported here because it is slow to import and few commands need it

    place = shown_place(url)
    client: redis.Redis = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5)
    try:
        for user in users:
            client.execute_command("ACL SETUSER", *user.rules)  # type: ignore[no-untyped-call]  # redis-py does not type it
        _keep(client)
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise InvalidInput(f"{place} makes no users for this login: {error}. Give the address with an administrator's") from error
    except redis.ResponseError as error:
        raise InvalidInput(f"{place} does not understand these rules ({error}): they need Redis 7.0 or newer, or Valkey") from error
    except redis.RedisError as error:
        if (why := refusal(error)) is not None:
            raise Unreachable(f"the certificate of {place} is not trusted: {why}; {MEND}") from error
        raise Unreachable(f"the broker at {place} does not answer: {error}") from error
    finally:
        client.close()
    say(f"{place} knows {' and '.join(user.rules[0] for user in users)} now")


def _keep(client: redis.Redis) -> None:
    """Make Redis save its users to its ACL file. If it has none, print a warning that the users are lost when Redis ends."""
    import redis

    try:
        client.acl_save()
    except redis.ResponseError as error:
        say(f"These users are gone when Redis ends ({error}). To keep them: redis-server --aclfile users.acl, and this command again")
