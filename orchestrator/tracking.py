"""Reads keys of Redis again only when they have changed. Redis itself reports which keys have changed ("client tracking").

The server remembers which keys a connection has read. When anybody changes such a key, the server sends its name once over the same
connection. So the names of all changes that were made before a command was sent arrive before the answer to that command. A reader that
keeps what it has read therefore needs one short command per look, and reads nothing but the changed keys.
https://redis.io/docs/latest/develop/reference/client-side-caching/

A server or a login that refuses client tracking is used all the same: then everything counts as changed at each look. Some proxies accept
the command and pass no such messages on. So everything also counts as changed once a minute.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import redis
from redis.connection import ConnectionInterface, DefaultParser

from shared.protocol.outage import is_away, once_more

log = logging.getLogger(__name__)

WHOLE_S = 60.0  # after so long everything counts as changed, in case something between Redis and us swallows its messages
WAIT_S = 5.0  # how long a thread waits for another one that looks; longer only if Redis hangs, and then it would hang here too
_PUSHED = object()  # stands for a message that the server sent by itself, between answers


class Look(NamedTuple):
    """Says what has changed since the last look.

    Attributes:
        now: the time of Redis' clock, in seconds since 1970.
        changed: the names of the changed keys among those that were read; None if every key may have changed.
    """

    now: float
    changed: frozenset[str] | None


class Script:
    """Holds a Lua script and its digest."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Tracking:
    """Holds one connection whose reads are tracked. Its methods raise what redis-py raises; use them within `session`."""

    def __init__(self, url: str, timeout_s: float = 5.0) -> None:
        """Prepare the connection. It is opened when it is first used."""
        self._changed: set[str] = set()
        self._all_changed = True
        self._whole_at = 0.0  # the time by Redis' clock when everything last counted as changed
        self._tracks = True  # False once the server or its rules for this login have refused
        self._connection: ConnectionInterface | None = None
        self._lock = threading.RLock()
        options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": 2, "health_check_interval": 0}
        options |= {"decode_responses": True, "encoding_errors": "replace", "retry": once_more()}
        self._tracked = redis.Redis.from_url(url, **options, protocol=3, parser_class=self._parser())
        self._plain = redis.Redis.from_url(url, **options, protocol=2)

    def _parser(self) -> type:
        heard = self._heard

        class Parser(DefaultParser):  # type: ignore[misc,valid-type]  # redis-py chooses its base class at import
            def handle_push_response(self, response: Any, **_: Any) -> object:
                heard(response)
                return _PUSHED

        return Parser

    def _heard(self, message: Any) -> None:
        """Note a message of the server. Anything but a list of keys, for example after `FLUSHALL`, counts as a change of every key."""
        kind, names = (*message, None)[:2]
        if kind in ("invalidate", b"invalidate") and isinstance(names, list):
            self._changed.update(str(name) for name in names)
        else:
            self._all_changed = True

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keep the connection for this thread. After an error the connection is closed, and everything counts as changed.

        Raises:
            redis.TimeoutError: another thread has waited for Redis for seconds.
        """
        if not self._lock.acquire(timeout=WAIT_S):
            raise redis.TimeoutError(f"another thread has waited for its answer for {WAIT_S:g} s")
        try:
            yield
        except BaseException:  # otherwise an answer that was not read would be taken for that of the next command
            self._close()
            raise
        finally:
            self._lock.release()

    def look(self) -> Look:
        """Ask which of the keys that were read have changed since the last look. This takes one short command.

        If the connection has broken since it was last used, it is opened again.
        """
        fresh = self._connection is None
        try:
            now = self._time()
        except redis.ConnectionError:
            if fresh:
                raise
            self._close()
            now = self._time()
        if self._all_changed or not self._tracks or not 0 <= now - self._whole_at < WHOLE_S:
            changed, self._whole_at = None, now
        else:
            changed = frozenset(self._changed)
        self._changed.clear()
        self._all_changed = False
        return Look(now, changed)

    def _time(self) -> float:
        seconds, microseconds = self._ask("TIME")
        return int(seconds) + int(microseconds) / 1e6

    def ask(self, *words: Any, reads: Collection[str]) -> Any:
        """Run a command that reads these keys, and return its answer. The keys count as unchanged until they change again."""
        answer = self._ask(*words)
        self._changed.difference_update(reads)  # their names came before the answer, which therefore holds those changes
        return answer

    def run(self, script: Script, *arguments: Any, reads: Collection[str]) -> Any:
        """Run a script that reads these keys, and return its answer."""
        try:
            return self.ask("EVALSHA", script.sha, 0, *arguments, reads=reads)
        except redis.exceptions.NoScriptError:
            self._ask("SCRIPT LOAD", script.text)
            return self.ask("EVALSHA", script.sha, 0, *arguments, reads=reads)

    def _ask(self, *words: Any) -> Any:
        connection = self._connection or self._open()
        return _exchange(connection, *words)

    def _open(self) -> ConnectionInterface:
        if self._tracks:
            try:
                self._connection = self._opened(self._tracked)
                _exchange(self._connection, "CLIENT TRACKING", "ON")
                return self._connection
            except redis.ResponseError as error:
                if is_away(error):
                    raise
                log.warning(
                    "Redis does not say what has changed (%s), so each look reads everything: "
                    "if this login was made by `fleetmark redis-acl`, make it again",
                    error,
                )
                self._close()
                self._tracks = False
        self._connection = self._opened(self._plain)
        return self._connection

    def _opened(self, client: redis.Redis) -> ConnectionInterface:
        self._all_changed = True
        connection = client.connection_pool.make_connection()
        connection.connect()  # type: ignore[no-untyped-call]  # redis-py types this class only in part
        return connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._all_changed = True
        if connection is not None:
            connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py types this class only in part

    def close(self) -> None:
        """Close the connection. A later look opens it again."""
        with self._lock:
            self._close()


def _exchange(connection: ConnectionInterface, *words: Any) -> Any:
    """Send a command and return its answer. Messages of the server in between are noted by the parser."""
    connection.send_command(*words)  # type: ignore[no-untyped-call]  # redis-py types this class only in part
    while (answer := connection.read_response(push_request=True)) is _PUSHED:
        pass
    return answer
