"""Recognises the host names and addresses that mean this machine."""

from __future__ import annotations

import ipaddress

ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 (used to recognise these addresses, not to listen on them)


def is_ours(header: str, bound: str) -> bool:
    """Return whether the `Host` header of a request names this machine.

    It does if it is `localhost`, a loopback address, or the name that the server is bound to. Checking the header stops DNS rebinding: a
    web page lets its own name resolve to 127.0.0.1 and then calls this server as its own origin, but the header still has the page's name.
    A request without `Host` is accepted. It is HTTP/1.0, which no browser uses.
    """
    name = header.removesuffix("]") if header.endswith("]") else header.rpartition(":")[0] or header
    name = name.strip("[]").rstrip(".").lower()
    return name in ("", bound.lower()) or is_loopback(name)


def is_loopback(name: str) -> bool:
    """Return whether this is `localhost` or a loopback address without brackets. It does not ask a name server."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def is_this_machine(name: str) -> bool:
    """Return whether a connection to `name` stays on this machine. It does not ask a name server.

    It accepts more spellings than `is_loopback`: `localhost.`, `demo.localhost` (RFC 6761), `::ffff:127.0.0.1`, and the unspecified
    addresses, which the operating system connects to the loopback. So use it to decide how to connect, never to decide who has access.
    """
    written = name.strip("[]").rstrip(".").lower()
    if is_loopback(written) or written.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address.is_unspecified or (mapped is not None and mapped.is_loopback)


def reached_at(bound: str) -> str:
    """Return the address at which this machine reaches a server that listens on `bound`.

    For the unspecified addresses (`0.0.0.0` and `::`) this is the loopback address.
    """
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)  # noqa: S104 (nothing listens here)


def without_brackets(host: str) -> str:
    """Return a host in the form that a socket takes: an IPv6 address without the brackets that it has in a URL."""
    written = host.strip()
    return written[1:-1] if written.startswith("[") and written.endswith("]") and ":" in written else written


def in_url(name: str) -> str:
    """Return a host name or address in the form that a URL takes: an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name else name
