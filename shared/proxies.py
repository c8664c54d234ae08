"""Finds the HTTP proxy for a web server in the environment, and on macOS and Windows also in the system settings.

`HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` name proxies. `NO_PROXY` lists the hosts that are contacted without a proxy. This machine is
never contacted through a proxy, because a proxy on another machine would connect to its own loopback instead of ours.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from shared.addresses import shown_address
from shared.hosts import is_this_machine


@dataclass(frozen=True)
class Proxy:
    """Holds the address of a proxy and the name of the variable that sets it. `address` may contain a login."""

    address: str
    variable: str

    def __str__(self) -> str:
        return f"the proxy {shown_address(self.address)} ({self.variable})"


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for the server of `url`. Return None if it needs no proxy, or if `url` is not a valid address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    if is_this_machine(host):
        return None
    proxies = getproxies()
    kind = parts.scheme if proxies.get(parts.scheme) else "all"
    address = proxies.get(kind)
    if not address:
        return None
    by_hand = getproxies_environment()
    if is_listed(host, port, by_hand.get("no", "")) if by_hand else proxy_bypass(host):
        return None
    return Proxy(address if "://" in address else f"http://{address}", f"{kind.upper()}_PROXY" if by_hand else "the system's settings")


def is_listed(host: str, port: int | None, no_proxy: str) -> bool:
    """Return whether a `NO_PROXY` list contains a host.

    An entry is a host name, which includes its subdomains, an address, a network such as `fd00::/8`, or `*`. If an entry ends with a port,
    it applies to this port alone. IPv6 addresses may be in brackets.
    """
    name = host.rstrip(".").lower()
    for entry in re.split(r"[\s,]+", no_proxy.lower()):
        wanted, of_port = _host_and_port(entry)
        if of_port is not None and of_port != port:
            continue
        if wanted == "*" or _is_in_network(name, wanted):
            return True
        wanted = wanted.removeprefix("*").removeprefix(".").rstrip(".")
        if wanted and (name == wanted or name.endswith(f".{wanted}")):
            return True
    return False


def _host_and_port(entry: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?:(/\d+)|:(\d+))?", entry)
    if bracketed:
        return f"{bracketed[1]}{bracketed[2] or ''}", int(bracketed[3]) if bracketed[3] else None
    named = re.fullmatch(r"([^:]*):(\d+)", entry)
    return (named[1], int(named[2])) if named else (entry, None)


def _is_in_network(name: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(network, strict=False)
    except ValueError:  # one of the two is a host name
        return False
