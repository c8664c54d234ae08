"""Looks at a broker before anything is built on it: does it answer, does it let us in, does it keep what it is given?"""

from __future__ import annotations

from pathlib import Path

from cli.errors import Unreachable
from shared.brokers import shown_place
from shared.errors import InvalidInput
from shared.protocol.condition import Trouble, troubles
from shared.tls import MEND, broker_trusting, refusal

PATIENCE_S = 5


def look_at(url: str, ca_file: Path | None) -> list[Trouble]:
    """Return what is wrong with the Redis at a usable address.

    Raises:
        InvalidInput: it refuses the login of the address.
        Unreachable: it does not answer.
    """
    import redis  # half of Celery's weight, for the few commands that need it

    place = shown_place(url)
    client: redis.Redis = redis.Redis.from_url(
        broker_trusting(url, ca_file), socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, decode_responses=True
    )
    try:
        client.ping()
        return troubles(client)
    except redis.AuthenticationError as error:
        raise InvalidInput(f"the Redis at {place} refuses the login of this address: {error}") from error
    except redis.exceptions.NoPermissionError:
        return []  # a login that may do other things
    except redis.RedisError as error:
        if (why := refusal(error)) is not None:
            raise Unreachable(f"the certificate of {place} is not trusted: {why}; {MEND}") from error
        raise Unreachable(f"no Redis answers at {place}: {error}") from error
    finally:
        client.close()


def require_redis(url: str, ca_file: Path | None) -> None:
    """Make sure that Fleetmark can work with the Redis at an address.

    Raises:
        InvalidInput: what answers there is nothing that Fleetmark can work with, or refuses the login.
        Unreachable: it does not answer.
    """
    for trouble in look_at(url, ca_file):
        if trouble.stops:
            raise InvalidInput(f"the Redis at {shown_place(url)} {trouble.words}: {trouble.mend}")
