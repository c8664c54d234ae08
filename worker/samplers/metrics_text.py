"""Fetches a page with metrics over HTTP, with limits for its size and its time, and with messages for people."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from shared.addresses import login_of, shown_address, with_login
from shared.clock import Clock, SystemClock

if TYPE_CHECKING:
    from http.client import HTTPResponse

TIMEOUT_S = 2.0
MAX_BYTES = 4 * 2**20
PIECE_BYTES = 65_536
ACCEPT = "text/plain; version=0.0.4, application/openmetrics-text;q=0.5"
GZIP = 16 + zlib.MAX_WBITS


class NoPage(Exception):
    """Raised when a page cannot be read, or is no text in the format of Prometheus. The message says which page, and why."""


def fetch(url: str) -> str:
    """Return the text of a page. A login in the address is sent as HTTP's basic authentication, and never to another address.

    Raises:
        NoPage: It does not answer in time, or not with a page. The message shows no login.
    """
    import urllib.error  # imported where there is a page: this takes 40 ms of CPU time, beside every measurement
    import urllib.request as web
    from http.client import HTTPException

    from worker.samplers.redirections import Redirections

    shown = shown_address(url)
    if not url.lower().startswith(("http://", "https://")):
        raise NoPage(f"{shown} is no address of a page: it must start with http:// or https://")
    opener = web.OpenerDirector()  # it reads no proxy: a service that is measured is not behind one. A redirection cannot leave HTTP
    for handler in (web.HTTPHandler, web.HTTPSHandler, Redirections, web.HTTPErrorProcessor, web.HTTPDefaultErrorHandler):
        opener.add_handler(handler())
    opener.add_handler(web.UnknownHandler())
    clock = SystemClock()
    begin = clock.monotonic()
    try:
        _ = urlsplit(url).port  # this raises ValueError if host and port cannot be read
        request = web.Request(with_login(url, ""), headers={"Accept": ACCEPT})  # noqa: S310 - checked above
        if login := login_of(url):
            coded = base64.b64encode(unquote(login).encode()).decode("ascii")
            request.add_unredirected_header("Authorization", f"Basic {coded}")
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return str(_content(answer, shown, clock, begin), "utf-8", "replace").removeprefix("\ufeff")
    except urllib.error.HTTPError as error:
        error.close()
        mend = _login_advice(url, error.url) if error.code == 401 else "name the page with the metrics, which often ends in /metrics"
        raise NoPage(f"{shown} answers {error.code}; {mend}") from error
    except (OSError, HTTPException) as error:
        raise NoPage(f"{shown} does not answer: {_said_by(error)}") from error
    except (ValueError, zlib.error) as error:
        raise NoPage(f"{shown} cannot be read: {_said_by(error)}") from error


def _said_by(error: Exception) -> str:
    """Return the text of an error, or of its cause, without ends of lines. Return its name if it has no text."""
    cause = getattr(error, "reason", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__


def _login_advice(url: str, asking: str) -> str:
    """Return what to do about a page that asks for a login. `asking` is its address after all redirections."""
    from worker.samplers.redirections import same_server  # imported late for the same reason as in `fetch`

    if not same_server(url, asking):
        return f"it redirects to {shown_address(asking)}, which gets no login of another address; name that address with its login"
    if login_of(url):
        return "it asks for a login, and it refuses that of the address: check the user and the password"
    return "it asks for a login: write it in the address, as in http://user:password@host/metrics"


def _content(answer: HTTPResponse, shown: str, clock: Clock, begin: float) -> bytes:
    """Read a page until its end. The limit of time is one for the whole page, because a slow one may send a byte now and then.

    Raises:
        NoPage: It is too large or too slow, or it ends too early.
        zlib.error: It is no gzip although it says so.
    """
    unpacked = zlib.decompressobj(GZIP) if answer.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip") else None
    content = b""
    while piece := answer.read1(PIECE_BYTES):
        content += piece if unpacked is None else unpacked.decompress(piece, MAX_BYTES + 1 - len(content))
        if len(content) > MAX_BYTES:
            raise NoPage(f"{shown} is larger than {MAX_BYTES // 2**20} MB; name a page with fewer series")
        if clock.monotonic() - begin > 2 * TIMEOUT_S:
            raise NoPage(f"{shown} does not answer: its page had not ended after {2 * TIMEOUT_S:g} s")
    if answer.length or (unpacked is not None and not unpacked.eof):
        raise NoPage(f"{shown} does not answer: its page ended too early, after {len(content)} bytes")
    return content
