"""Checks and reads the address of the broker (Redis)."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from shared.addresses import require_readable

SCHEMES = ("redis", "rediss", "unix")
SHAPES = "redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///run/redis.sock?db=0"
OF_A_SENTINEL = (
    "a Sentinel tells where Redis is, and Fleetmark does not ask it: give the address of the Redis itself, or a name that follows it after "
    "a failover (ask for the present one with `redis-cli -p 26379 SENTINEL get-master-addr-by-name NAME`)"
)


def require_broker(url: str) -> None:
    """Check that an address can be used for the broker.

    Raises:
        ValueError: it cannot. The message says what to write instead, and does not repeat the address.
    """
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if "sentinel" in scheme.split("+"):
        raise ValueError(OF_A_SENTINEL)
    if scheme not in SCHEMES:
        raise ValueError(f"a broker's address is written {SHAPES}")
    require_readable(url)
    parts = urlsplit(url)
    number = parts.path.strip("/")
    if scheme == "unix" and len(number) == 0:
        raise ValueError("an address that begins with unix:// goes on with the path of the socket, as in unix:///run/redis.sock?db=0")
    if scheme == "unix":
        number = parse_qs(parts.query).get("db", ["0"])[-1]
    elif not parts.hostname:
        raise ValueError(f"it names no host; a broker's address is written {SHAPES}")
    elif "db" in parse_qs(parts.query):
        raise ValueError("the number of the database stands after the host, as in redis://host:6379/3, and not in ?db=3")
    if not (number == "" or (number.isascii() and number.isdigit())):
        raise ValueError(f"a broker's address ends with the number of its database, as in redis://host:6379/0, and not with {number!r:.60}")


def database_of(url: str) -> int:
    """Return the number of the Redis database in an address that `require_broker` has accepted."""
    parts = urlsplit(url)
    return int((parse_qs(parts.query).get("db", ["0"])[-1] if parts.scheme == "unix" else parts.path.strip("/")) or 0)


def host_and_port(url: str) -> tuple[str, int]:
    """Return the host and port of the broker. For a Unix socket these are its path and 0."""
    parts = urlsplit(url)
    return (unquote(parts.path), 0) if parts.scheme == "unix" else (parts.hostname or "localhost", parts.port or 6379)


def shown_place(url: str) -> str:
    """Return host and port as text for people, without the login: `lab:6379` or `/run/redis.sock`."""
    host, port = host_and_port(url)
    return f"{f'[{host}]' if ':' in host else host}:{port}" if port else host


def for_kombu(url: str) -> str:
    """Return the address in the form that kombu (Celery's transport library) reads.

    kombu writes Unix sockets as `redis+socket://`, redis-py as `unix://`.
    """
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{login}{quote(unquote(parts.path))}?{urlencode({'virtual_host': database_of(url)})}"
