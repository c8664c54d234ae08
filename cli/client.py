"""Calls the REST API for the command line. Errors become exceptions with an exit code. Lists are read to their last page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from cli.errors import ApiError, Away, Unreachable
from cli.files import write_whole
from shared.controls import as_one_line
from shared.errors import FieldError
from shared.hosts import is_this_machine
from shared.installation import how_to_call
from shared.sources import short_name
from shared.tls import MEND, refusal
from shared.web import FAILURES, by_way_of, web_client

CHUNK_BYTES = 2**20
PAGE = 1_000  # the most items in one answer
TIMEOUT = httpx.Timeout(30, connect=5)
UPLOAD_TIMEOUT = httpx.Timeout(600, connect=5)  # for each chunk, and for the answer, before which the server hashes the file
AWAY = (502, 503, 504)


@dataclass(frozen=True)
class Listed:
    """Holds a part of a list.

    Attributes:
        total: how many items the whole list has; None if the orchestrator does not say.
        more: the cursor of the next page; None if the list ends here.
    """

    items: list[dict[str, Any]]
    total: int | None
    more: str | None


class Client:
    """Holds a connection to one orchestrator. Use it as a context manager."""

    def __init__(self, host: str, token: str | None = None, ca_file: Path | None = None, *, direct: bool = False) -> None:
        """Make a client for the orchestrator at `host`.

        Args:
            direct: True to ignore proxies in the environment.

        Raises:
            InvalidInput: the address, or the proxy that the environment names for it, cannot be used.
        """
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = web_client(f"{host}/api/", headers=headers, timeout=TIMEOUT, ca_file=ca_file, direct=direct)
        self._way = "" if direct else by_way_of(host)
        self.host = host

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        return self._call("GET", path, params=_given(parameters)).json()

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        return self._call("POST", path, json=body, headers=headers).json()

    def put(self, path: str, body: Any = None) -> Any:
        return self._call("PUT", path, json=body).json()

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path).json()

    def health(self) -> dict[str, Any]:
        """Return the orchestrator's report on its health, even if it is not healthy.

        Raises:
            ApiError: the server answers with an error that is not a health report.
            Unreachable: no orchestrator answers.
        """
        try:
            response = self._http.get("health")
        except FAILURES as error:
            raise self._unreachable(error) from error
        try:
            body = response.json()
        except ValueError:
            body = None
        if isinstance(body, dict) and isinstance(body.get("redis"), dict):
            return body
        if response.is_error:
            raise self._api_error(response)
        raise self._no_orchestrator()

    def exists(self, path: str) -> bool:
        """Return whether a GET of `path` would succeed."""
        try:
            self._call("HEAD", path)
        except ApiError as error:
            if error.http_status == 404:
                return False
            raise
        return True

    def pages(self, path: str, key: str, limit: int | None = None, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page, at most `limit` of them."""
        given, count = _given(parameters), 0
        while True:
            page = self._call("GET", path, params=given).json()
            for item in page[key]:
                yield item
                count += 1
                if count == limit:
                    return
            if not page.get("next_cursor"):
                return
            given["cursor"] = page["next_cursor"]

    def listed(self, path: str, key: str, limit: int, **parameters: Any) -> Listed:
        """Return up to `limit` items of a list, and where it goes on. `parameters` may hold the `cursor` of an earlier part."""
        given = _given(parameters)
        items: list[dict[str, Any]] = []
        while True:
            page = self._call("GET", path, params=given | {"limit": min(limit - len(items), PAGE)}).json()
            items += page[key]
            more = page.get("next_cursor")
            if more is None or len(items) >= limit:
                return Listed(items, page.get("total"), more)
            given["cursor"] = more

    def stream(self, path: str, **parameters: Any) -> Iterator[bytes]:
        """Yield the body of an answer in pieces, so that it may be larger than memory."""
        try:
            with self._http.stream("GET", path, params=_given(parameters)) as response:
                if response.is_error:
                    response.read()
                    raise self._api_error(response)
                yield from response.iter_bytes(CHUNK_BYTES)
        except FAILURES as error:
            raise self._unreachable(error) from error

    def lines(self, path: str, **parameters: Any) -> Iterator[bytes]:
        """Yield the body of an answer line by line, as the lines come."""
        try:
            with self._http.stream("GET", path, params=_given(parameters)) as response:
                if response.is_error:
                    response.read()
                    raise self._api_error(response)
                for line in response.iter_lines():
                    yield line.encode()
        except FAILURES as error:
            raise self._unreachable(error) from error

    def download(self, path: str, file: Path) -> None:
        """Write the body of an answer to a file. The file is complete or is not there.

        Raises:
            InvalidInput: the file cannot be written.
        """
        write_whole(file, self.stream(path))

    def upload_model(self, file: Path, sha256: str, sent: Callable[[int], None]) -> None:
        """Upload a model file. `sent` is called with the size of each piece that was sent.

        Raises:
            ApiError: the upload was refused (for example as too large), or the received file has another SHA-256.
        """
        name, size = short_name(as_one_line(file.name)), file.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}

        def pieces() -> Iterator[bytes]:
            with file.open("rb") as stream:
                while piece := stream.read(CHUNK_BYTES):
                    yield piece
                    sent(len(piece))

        answer = self._call(
            "POST",
            "models",
            params={"name": name, "sha256": sha256},
            headers=headers,
            content=pieces(),
            timeout=UPLOAD_TIMEOUT,
        ).json()
        if answer.get("sha256") != sha256:
            raise ApiError(422, "Changed", f"{file} changed while it was sent (or on the way): try again", [])

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
            if method == "HEAD" and response.is_error and response.status_code != httpx.codes.NOT_FOUND:
                response = self._in_words(path, response)
        except FAILURES as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise self._api_error(response)
        if method != "HEAD" and "json" not in response.headers.get("content-type", ""):
            raise self._no_orchestrator()
        return response

    def _no_orchestrator(self) -> Unreachable:
        return Unreachable(
            f"{self.host} answers{self._way}, but not as an orchestrator does; is it the right address? (--host, FLEETMARK_HOST)"
        )

    def _in_words(self, path: str, refused: httpx.Response) -> httpx.Response:
        """Repeat a refused HEAD request as GET, and return that answer. Its body gives the reason; an answer to HEAD has no body."""
        with self._http.stream("GET", path) as response:
            if not response.is_error:  # the request is allowed now; do not read the body, which may be gigabytes
                return refused
            response.read()
        return response

    def _unreachable(self, error: Exception) -> Unreachable:
        if (why := refusal(error)) is not None:
            return Unreachable(f"the certificate of {self.host} is not trusted: {why}; {MEND}")
        if isinstance(error, httpx.TimeoutException):
            what = "does not answer in time"
        elif isinstance(error, httpx.ProxyError):
            what = f"cannot be reached ({error})"
        elif isinstance(error, httpx.ConnectError | UnicodeError):
            what = "cannot be reached"
        else:
            what = f"broke off ({type(error).__name__})"
        mend = (
            f"If no proxy leads there, list {self._http.base_url.host} in NO_PROXY"
            if self._way
            else f"Start one with `{how_to_call('up')}`"
        )
        return Unreachable(f"the orchestrator at {self.host} {what}{self._way}. {mend}, or name another with --host or FLEETMARK_HOST")

    def _api_error(self, response: httpx.Response) -> ApiError:
        """Return the error for an answer. It has the API's own message, or only the HTTP status if something else (a proxy) answered."""
        kind = Away if response.status_code in AWAY else ApiError
        try:
            body = response.json()
            fields = [FieldError(str(field["path"]), str(field["message"])) for field in body.get("fields", [])]
            detail = str(body["detail"])
            if response.status_code == httpx.codes.UNAUTHORIZED and "Authorization" not in response.request.headers:
                detail += ". `fleetmark` sends the token that FLEETMARK_TOKEN holds, or the file that FLEETMARK_TOKEN_FILE names"
            return kind(response.status_code, str(body["error"]), detail, fields)
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            address = response.request.url
            reason = f"{response.status_code} {response.reason_phrase}"
            detail = f"{address} answered {reason}{self._way}, and not in the words of an orchestrator: is it the right address?"
            return kind(response.status_code, "Unexpected", detail, [])


def stays_here(url: str) -> bool:
    """Return whether a request to `url` stays on this machine."""
    return is_this_machine(urlsplit(url).hostname or "")


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _given(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
