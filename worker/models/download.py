"""Downloads one URL into one file. It streams, resumes interrupted downloads, limits the size and checks the promised length."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.clock import Clock
from shared.errors import ModelUnavailable
from worker.models.cache import NOTES

if TYPE_CHECKING:
    import httpx

    from worker.models.transport import Patience

Explain = Callable[["httpx.Response"], str | None]  # why a server refused, in words for people; None if it does not know
TRIES = 4  # for one download. A further try is made only if the last one received data, and it resumes there.
RETRY_S = (0.2, 1.0, 3.0)
MEANINGS = {
    401: "it wants credentials; upload the model to the orchestrator instead",
    403: "it refuses; check that the link is public and has not expired",
    404: "there is nothing at this address; check the link",
    410: "it is gone; look for a newer link",
    429: "it is asked too often; try again later",
}


@dataclass(frozen=True)
class Validators:
    """Holds the response headers that make it possible to ask a server later whether its file has changed."""

    etag: str | None = None
    last_modified: str | None = None

    def ask_if_changed(self) -> dict[str, str]:
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}

    def resume_at(self, offset: int) -> dict[str, str]:
        """Return the headers that resume the same file. Empty if the server sent nothing that identifies the file."""
        same = self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified
        return {"Range": f"bytes={offset}-", "If-Range": same} if same and offset else {}


class Download:
    """Downloads one URL into one partial file. The validators are stored beside it, so that a later process can resume the download."""

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        partial: Path,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        clock: Clock,
        patience: Patience,
        explain: Explain | None = None,
    ) -> None:
        """Prepare the download.

        Args:
            headers: Sent to the URL's own host. A redirect to another host does not get them.
            max_bytes: The largest allowed size of this file.
            explain: Says why the URL's own server refused, if it knows that better than by the status code alone.
        """
        self._client, self._url, self._partial, self._headers = client, url, partial, dict(headers)
        self._max_bytes, self._clock, self._patience = max_bytes, clock, patience
        self._explain = explain
        self._notes = partial.with_suffix(NOTES)

    def run(self, known: Validators) -> Validators | None:
        """Download the file into the partial file. Returns its validators, or None if the server says that the known file is unchanged.

        Raises:
            ModelUnavailable: It could not be downloaded. The message names the URL, the server's answer and what to do.
        """
        import httpx

        from worker.models.transport import Refused

        for attempt in range(TRIES):
            before = self._size()
            try:
                return self._once(known)
            except httpx.TransportError as error:
                progress = self._size() > before
                if attempt == TRIES - 1 or not progress:
                    raise ModelUnavailable(self._why_not(error)) from error
                self._patience.on_wait()
                self._clock.sleep(RETRY_S[attempt])
            except (httpx.TooManyRedirects, httpx.InvalidURL) as error:
                raise ModelUnavailable(f"{self._url} cannot be followed: {error}") from error
            except Refused as error:
                led = "" if error.url in (None, httpx.URL(self._url)) else f" leads to {error.url}, which"
                raise ModelUnavailable(f"{self._url}{led} {error}") from error
        raise AssertionError("the last try returns or raises")

    def _once(self, known: Validators) -> Validators | None:
        begun = self._begun()
        resume = begun.resume_at(self._size()) if begun else {}
        ask = known.ask_if_changed() if not resume else {}
        headers = {**self._headers, "Accept-Encoding": "identity", **resume, **ask}
        with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code == 304 and ask:
                return None
            if response.status_code == 416 and resume:  # the file is shorter now, so start from the beginning
                self.discard()
                return self._once(known)
            if response.status_code not in (200, 206):
                raise ModelUnavailable(self._refused(response))
            if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
                raise ModelUnavailable(
                    f"{self._url} sends the file as {encoding!r:.100}, though it was asked for as it is: "
                    "serve the file itself, or upload it to the orchestrator"
                )
            validators = Validators(response.headers.get("ETag"), response.headers.get("Last-Modified"))
            if response.status_code == 206 and begun and validators.etag not in (None, begun.etag):
                self.discard()  # the server resumes another file, despite the If-Range header
                return self._once(known)
            self._receive(response, self._offset(response), validators)
            return validators

    def _offset(self, response: httpx.Response) -> int:
        """Return the position at which this response's bytes begin: the size of the partial file, or 0 if the server starts over."""
        expected = f"bytes {self._size()}-"
        if response.status_code == 206 and response.headers.get("Content-Range", "").startswith(expected):
            return self._size()
        if response.status_code == 206:
            raise ModelUnavailable(f"{self._url} answered with another part than was asked for: {response.headers.get('Content-Range')}")
        return 0

    def _receive(self, response: httpx.Response, offset: int, validators: Validators) -> None:
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length and length.isdigit() else None
        if total is not None and total > self._max_bytes:
            raise ModelUnavailable(self._too_large(f"has {total} bytes"))
        done = offset
        with self._partial.open("ab" if offset else "wb") as file:
            self._notes.write_text(json.dumps(asdict(validators)))  # only now that the old bytes are gone
            for block in response.iter_raw():  # small pieces, so that a cancel is noticed even if the server is slow
                done += len(block)
                if done > self._max_bytes:
                    file.close()
                    self.discard()
                    raise ModelUnavailable(self._too_large("does not end there"))
                file.write(block)
                self._patience.tick(done / total if total else None)
        if total is not None and done != total:
            raise ModelUnavailable(
                f"{self._url} is truncated: it promised {total} bytes and gave {done}; try again, or repair the server's copy"
            )

    def discard(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def finished(self) -> None:
        self._notes.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0

    def _begun(self) -> Validators | None:
        try:
            return Validators(**json.loads(self._notes.read_text()))
        except (OSError, ValueError, TypeError):  # no download was begun, or a crash damaged the notes
            return None

    def _too_large(self, what: str) -> str:
        return f"{self._url} {what}: FLEETMARK_WORKER_MAX_MODEL_BYTES of this worker leaves {self._max_bytes} bytes for it"

    def _refused(self, response: httpx.Response) -> str:
        code = response.status_code
        if self._explain is not None and (why := self._explain(response)) is not None:
            return why
        meaning = MEANINGS.get(code, "try again later" if code >= 500 else "check the link")
        return f"{self._url} answered {code} {response.reason_phrase}: {meaning}"

    def _why_not(self, error: httpx.TransportError) -> str:
        import httpx

        from shared.web import by_way_of

        way = by_way_of(self._url)
        if isinstance(error, httpx.TimeoutException):
            return f"{self._url} does not answer{way} ({type(error).__name__}): check the address and this device's network"
        if isinstance(error, httpx.UnsupportedProtocol):
            return f"{self._url} leads to an address that is not http(s): {error}"
        if isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError)):
            return f"{self._url} is truncated: it ended after {self._size()} bytes ({error}); try again, or repair the server's copy"
        return f"{self._url} cannot be reached{way}: {error}; check the address and this device's network"
