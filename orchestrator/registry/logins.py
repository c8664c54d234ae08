"""Makes and ends workers' logins at the broker. They are Redis users in memory only, made again at each enrolment."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import redis

from orchestrator.registry.link import Link
from shared.errors import FleetmarkError
from shared.protocol.logins import password_rule, setuser, worker_rules, worker_user
from shared.protocol.outage import is_away


class LoginsNotMade(FleetmarkError):
    """Says that the broker refuses to make or end logins: this process lacks the right, or the server is too old."""


class Logins:
    """Makes and ends logins. Every method raises `Unavailable` if Redis does not answer."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def give(self, worker_id: str, capabilities: Iterable[str]) -> tuple[str, str]:
        """Give a worker a new password and the rights for these capabilities.

        An earlier password ends, but connections made with it stay open.

        Returns:
            The user and the password. Redis keeps only the hash of the password, and we do not keep it.

        Raises:
            LoginsNotMade: Redis refuses it. The message says what to change.
        """
        user, password = worker_user(worker_id), secrets.token_urlsafe(32)
        database = int(self._link.redis.get_connection_kwargs().get("db") or 0)
        with self._link.answering():
            rules = worker_rules(worker_id, capabilities, database)
            try:
                command = ("ACL SETUSER", *setuser(user, password_rule(password), rules))
                self._link.redis.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py does not type it
            except redis.ResponseError as error:
                if is_away(error):
                    raise
                raise LoginsNotMade(
                    f"Redis made no login for {worker_id}: {error}. FLEETMARK_BROKER_LOGINS needs Redis 7.0 or newer (or Valkey), and "
                    "an orchestrator that logs in as a user made by `fleetmark redis-acl`, or as one that may do everything"
                ) from error
        return user, password

    def take_away(self, worker_ids: Iterable[str]) -> None:
        """End logins, and close the connections made with them. A login that does not exist is no error.

        Raises:
            LoginsNotMade: Redis refuses it, for example because this process lacks the right.
        """
        users = [worker_user(worker_id) for worker_id in worker_ids]
        if not users:
            return
        with self._link.answering():
            try:
                self._link.redis.acl_deluser(*users)
            except redis.ResponseError as error:
                if is_away(error):
                    raise
                raise LoginsNotMade(f"Redis did not end the logins {', '.join(users)}: {error}") from error
