"""Answers about addresses: does one stay on this machine, and which ones stand for one caller?"""

from __future__ import annotations

import contextlib
import ipaddress
import socket

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def resolves_to_loopback(host: str) -> bool:
    """Say whether everything that `host` resolves to stays on this machine.

    Raises:
        OSError: it resolves to nothing.
    """
    addresses = {str(item[4][0]) for item in socket.getaddrinfo(host, None)}
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


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


def networks_of(listed: str) -> list[Network]:
    """`FLEETMARK_TRUSTED_PROXIES` as uvicorn reads it: addresses and networks, comma-separated; `*` is everyone."""
    if listed.strip() == "*":
        return [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    found = []
    for name in listed.split(","):
        with contextlib.suppress(ValueError):  # a name, which no connection has for its address
            found.append(ipaddress.ip_network(name.strip()))
    return found


def is_among(address: str, networks: list[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
