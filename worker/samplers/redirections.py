"""Follows a redirection of a page, and sends its login again only to the server that it was meant for."""

from __future__ import annotations

import urllib.request as web  # this takes 40 ms of CPU time, so this module is imported only where there is a page
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}


class Redirections(web.HTTPRedirectHandler):
    """Sends the login again if scheme, host and port stay the same. Another server never gets it."""

    def redirect_request(
        self, req: web.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> web.Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        login = req.unredirected_hdrs.get("Authorization")
        if request is not None and login is not None and same_server(req.full_url, newurl):
            request.add_unredirected_header("Authorization", login)
        return request


def same_server(one: str, other: str) -> bool:
    """Return whether two addresses have the same scheme, host and port.

    Raises:
        ValueError: The port of one of them is no number.
    """
    return _server(one) == _server(other)


def _server(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
