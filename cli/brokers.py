"""Checks a broker before it is used: whether it answers, accepts the login, and stores data reliably."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import Unreachable
from shared.brokers import shown_place
from shared.errors import InvalidInput
from shared.readiness import CONNECT_S
from shared.tls import MEND, broker_trusting, refusal

if TYPE_CHECKING:
    from shared.protocol.condition import Trouble


def look_at(url: str, ca_file: Path | None) -> list[Trouble]:
    """Return the problems of the Redis at an address that `require_broker` accepts.

    Raises:
        InvalidInput: Redis refuses the login in the address.
        Unreachable: Redis does not answer, or its certificate is not trusted.
    """
    import redis  # imported here because it is slow to import and few commands need it
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    from shared.protocol.condition import troubles

    place = shown_place(url)
    client: redis.Redis = redis.Redis.from_url(
        broker_trusting(url, ca_file),
        socket_timeout=CONNECT_S,
        socket_connect_timeout=CONNECT_S,
        retry=Retry(NoBackoff(), 0),  # redis-py would try four times, with pauses
        decode_responses=True,
    )
    try:
        client.ping()
        return troubles(client)
    except redis.AuthenticationError as error:
        raise InvalidInput(f"the Redis at {place} refuses the login of this address: {error}") from error
    except redis.exceptions.NoPermissionError:
        return []  # the login may not run PING, but may run the commands that are needed
    except redis.RedisError as error:
        if (why := refusal(error)) is not None:
            raise Unreachable(f"the certificate of {place} is not trusted: {why}; {MEND}") from error
        raise Unreachable(f"no Redis answers at {place}: {error}") from error
    finally:
        client.close()


def require_redis(url: str, ca_file: Path | None) -> None:
    """Check that Fleetmark can use the Redis at an address.

    Raises:
        InvalidInput: Fleetmark cannot use this server, or the server refuses the login.
        Unreachable: Redis does not answer, or its certificate is not trusted.
    """
    for trouble in look_at(url, ca_file):
        if trouble.stops:
            raise InvalidInput(f"the Redis at {shown_place(url)} {trouble.words}: {trouble.mend}")
