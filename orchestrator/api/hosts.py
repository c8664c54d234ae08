"""Addresses: whether one stays on this machine, and which names a call may call us by."""

from __future__ import annotations

import ipaddress
import socket


def is_loopback(host: str) -> bool:
    """Whether everything that `host` resolves to stays on this machine.

    Raises:
        OSError: it resolves to nothing.
    """
    addresses = {str(item[4][0]) for item in socket.getaddrinfo(host, None)}
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def is_ours(header: str, bound: str) -> bool:
    """Whether the `Host` of a call names this machine: `localhost`, a loopback address, or the name we are bound to.

    A page can have its own name resolve to 127.0.0.1 and then call us as its own origin (DNS rebinding); the name gives it away.
    No `Host` at all is HTTP/1.0, which no browser speaks.
    """
    name = header.removesuffix("]") if header.endswith("]") else header.rpartition(":")[0] or header
    name = name.strip("[]").rstrip(".").lower()
    if name in ("", "localhost", bound.lower()):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def network_of(address: str) -> str:
    """What stands for one caller: an IPv4 address, or the /64 of an IPv6 one, whose holder has all of it to choose from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
        parsed = parsed.ipv4_mapped
    return str(parsed)
