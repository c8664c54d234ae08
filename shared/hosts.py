"""The names by which a program on this machine may call a server on it."""

from __future__ import annotations

import ipaddress


def is_ours(header: str, bound: str) -> bool:
    """Whether the `Host` of a call names this machine: `localhost`, a loopback address, or the name we are bound to.

    A page can have its own name resolve to 127.0.0.1 and then call us as its own origin (DNS rebinding); the name gives it away.
    No `Host` at all is HTTP/1.0, which no browser speaks.
    """
    name = header.removesuffix("]") if header.endswith("]") else header.rpartition(":")[0] or header
    name = name.strip("[]").rstrip(".").lower()
    return name in ("", bound.lower()) or is_loopback(name)


def is_loopback(name: str) -> bool:
    """Whether this is `localhost` or a loopback address, without brackets; no name is looked up."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
