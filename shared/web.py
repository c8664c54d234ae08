"""Makes all HTTP clients, so that they use the same proxies and trust the same certificates."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from shared.addresses import shown_address
from shared.errors import InvalidInput
from shared.installation import how_to_install_library
from shared.proxies import Proxy, proxy_for
from shared.tls import verification

# These are the exceptions that a request can raise if there is no answer. `InvalidURL` is not a subclass of `HTTPError`. An invalid host
# name such as `a..b` raises a `UnicodeError` in the standard library.
FAILURES = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)
SCHEMES = ("http", "https")
SOCKS = ("socks5", "socks5h")  # these need the package socksio


def web_client(
    address: str,
    *,
    timeout: float | httpx.Timeout,
    headers: Mapping[str, str] | None = None,
    ca_file: Path | None = None,
    direct: bool = False,
) -> httpx.Client:
    """Make an HTTP client for the server at `address`.

    Args:
        ca_file: certificates (PEM) of additional authorities to trust.
        direct: True to ignore proxies in the environment; for a server that the caller has just started on this machine.

    Raises:
        InvalidInput: `address`, its proxy, or a file of certificates cannot be used.
    """
    verify = verification(ca_file) if ca_file is not None or _speaks_tls(address, direct) else _trusting_nobody()
    try:
        # With `trust_env`, httpx would read the proxy variables itself. It would use the proxy for loopback too, and fail on
        # `NO_PROXY=::1/128`.
        return httpx.Client(
            base_url=address,
            headers=headers,
            timeout=timeout,
            verify=verify,
            trust_env=False,
            proxy=None if direct else usable_proxy(address, verify),
        )
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidInput(f"{shown_address(address)!r} cannot be used as an address: {error}; write it as http://name:port") from error


def _speaks_tls(address: str, direct: bool) -> bool:
    """Return whether the way to `address` has TLS in it: to the server itself, or to the proxy before it."""
    proxy = None if direct else proxy_for(address)
    return any(url.lower().startswith("https:") for url in (address, proxy.address if proxy is not None else ""))


def _trusting_nobody() -> ssl.SSLContext:
    """Return a context for a client that needs none, because reading the system's authorities takes 20 ms. With it, any TLS would fail."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def usable_proxy(address: str, verify: ssl.SSLContext) -> httpx.Proxy | None:
    """Return the proxy for `address` in the form that httpx takes, or None without a proxy.

    Raises:
        InvalidInput: the environment names a proxy that cannot be used.
    """
    proxy = proxy_for(address)
    if proxy is None:
        return None
    made: httpx.Proxy | None
    try:
        made = httpx.Proxy(proxy.address, ssl_context=verify if proxy.address.startswith("https:") else None)
    except (ValueError, httpx.InvalidURL):  # not chained, because their messages may contain a password
        made = None
    host = urlsplit(address).hostname
    if made is None or not made.url.host or made.url.scheme not in SCHEMES + SOCKS:
        raise InvalidInput(f"{proxy} cannot be used: write it as http://name:port, or list {host} in NO_PROXY")
    if made.url.scheme in SOCKS and find_spec("socksio") is None:
        raise InvalidInput(
            f"{proxy} cannot be used without the package socksio: {how_to_install_library('socksio')}, or list {host} in NO_PROXY"
        )
    return made


def by_way_of(address: str) -> str:
    """Return ` through the proxy …`, for error messages about `address`, or an empty text without a proxy."""
    proxy: Proxy | None = proxy_for(address)
    return f" through {proxy}" if proxy is not None else ""
