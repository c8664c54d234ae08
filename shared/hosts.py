"""The names by which a program on this machine may call a server on it."""

from __future__ import annotations

import ipaddress

ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 (named in order to be recognised, not listened on)


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


def is_this_machine(name: str) -> bool:
    """Whether a connection to `name` does not leave this machine; no name is looked up.

    It knows more spellings than `is_loopback`, so it decides how something is asked and never who is let in: `localhost.`,
    `demo.localhost` (RFC 6761), `::ffff:127.0.0.1`, and the unspecified addresses, which the system connects to the loopback.
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
    """The name by which this machine reaches a server that listens on `bound`: the loopback for the unspecified addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)  # noqa: S104 (nothing listens here)


def without_brackets(host: str) -> str:
    """A host as one listens on it: an address of IPv6 is written in brackets in a URL, and without them here."""
    written = host.strip()
    return written[1:-1] if written.startswith("[") and written.endswith("]") and ":" in written else written


def in_url(name: str) -> str:
    """A host's name or address as it stands in a URL: an address of IPv6 in brackets."""
    return f"[{name}]" if ":" in name else name
