"""Answers questions about addresses: whether one stays on this machine, and which addresses belong to one caller."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def resolves_to_loopback(host: str) -> bool:
    """Return whether every address that `host` resolves to is a loopback address.

    Raises:
        OSError: the host does not resolve.
    """
    addresses = {str(item[4][0]) for item in socket.getaddrinfo(host, None)}
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def network_of(address: str) -> str:
    """Return what identifies one caller: an IPv4 address, or the /64 network of an IPv6 address, as one caller may own all of that."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
        parsed = parsed.ipv4_mapped
    return str(parsed)


def networks_of(listed: str) -> list[Network]:
    """Read `FLEETMARK_TRUSTED_PROXIES` as uvicorn does: addresses and networks, separated by commas; `*` means everyone."""
    if listed.strip() == "*":
        return [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    found = []
    for name in listed.split(","):
        with contextlib.suppress(ValueError):  # a name, which is never the address of a connection
            found.append(ipaddress.ip_network(name.strip()))
    return found


def is_among(address: str, networks: list[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
