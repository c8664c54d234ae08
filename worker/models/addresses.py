"""Decides which network addresses a model may be fetched from when a recipe names its URL."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

GLOBAL_UNICAST = IPv6Network("2000::/3")  # all public addresses so far; the rest is local, reserved or multicast
# These ranges have no public hosts, but some supported Python versions do not know that.
DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637
OLD_6TO4_RELAYS = IPv4Network("192.88.99.0/24")  # RFC 7526: deprecated
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


def is_public(address: str) -> bool:
    """Return whether an address is public: not private, loopback, link-local, shared (CGNAT), reserved or multicast.

    If an IPv6 address contains an IPv4 address (mapped, 6to4, NAT64), the IPv4 address decides.
    """
    found = _without_wrapping(ip_address(address))
    if isinstance(found, IPv6Address) and (found not in GLOBAL_UNICAST or found in DOCUMENTATION):
        return False
    if found in OLD_6TO4_RELAYS:
        return False
    return found.is_global and not found.is_multicast


def _without_wrapping(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    inside = address.ipv4_mapped or address.sixtofour
    if inside is None and address in NAT64:
        inside = IPv4Address(int(address) & 0xFFFF_FFFF)
    return inside or address


def resolve(host: str, port: int) -> list[str]:
    """Return every address of a host name, the preferred one first. An IP address in any notation gives itself.

    Raises:
        OSError: The name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is too long or empty
        raise OSError(f"{host!r:.100} is no name of a host") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
