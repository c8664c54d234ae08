"""Sends large artifacts to the orchestrator in pieces. An interrupted upload can be resumed.

`PUT {host}/api/jobs/{job_id}/attempts/{n}/artifacts/{name}` with `Digest: sha-256=<base64>` of the whole file and
`Content-Range: bytes first-last/total`. A `HEAD` request to the same address returns in `Upload-Offset` how many bytes are there.
"""

from __future__ import annotations

import base64
from pathlib import Path

import httpx

from shared.errors import Unavailable
from shared.protocol.messages import Result
from shared.web import FAILURES, by_way_of, web_client

CHUNK_BYTES = 8 * 2**20
TIMEOUT = httpx.Timeout(60, connect=10)
# After these status codes another try may succeed: the token may be set meanwhile, or the server is busy.
PASSING = frozenset({401, 403, 408, 425, 429})
# For a piece, there are two more. 409: it does not continue the stored part, so the next try asks first. 422: the hash is wrong, so the
# next try starts over.
PASSING_OF_A_PIECE = PASSING | {409, 422}


class NotSent(Unavailable):
    """Raised when a file was not sent completely. Another try may succeed.

    Args:
        cause: A text that is the same for all files that fail for the same reason.
        answered: Whether the orchestrator itself answered. Then it may accept another file.
    """

    def __init__(self, detail: str, cause: str, *, answered: bool) -> None:
        super().__init__(detail)
        self.cause, self.answered = cause, answered


class Refused(Unavailable):
    """Raised when the orchestrator does not accept this file by upload, now or later."""


class Unwanted(Refused):
    """Raised when the job has ended without this worker, so that nobody needs the file."""


class Uploads:
    """Sends files over one HTTP client that lives as long as the worker."""

    def __init__(self, host: str, token: str | None, ca_file: Path | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = web_client(host, headers=headers, timeout=TIMEOUT, ca_file=ca_file)
        self._way = by_way_of(host)

    def send(self, result: Result, name: str, content: Path | bytes) -> None:
        """Send the part of a file that the orchestrator does not have yet.

        Raises:
            Refused: The orchestrator does not accept the file. It is `Unwanted` if the job has ended.
            NotSent: The file was not sent completely. Another try may succeed.
        """
        artifact = result.artifacts[name]
        address = f"/api/jobs/{result.job_id}/attempts/{result.attempt}/artifacts/{name}"
        digest = "sha-256=" + base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
        try:
            offset = self._offset(address, artifact.size)
            while offset < artifact.size:
                piece = _read(content, offset)
                last = offset + len(piece) - 1
                span = f"bytes {offset}-{last}/{artifact.size}"
                answer = self._client.put(address, content=piece, headers={"Digest": digest, "Content-Range": span})
                _check(answer, PASSING_OF_A_PIECE)
                offset = last + 1
        except FileNotFoundError as error:
            raise Refused(f"{name} is gone from this device") from error
        except OSError as error:
            raise NotSent(f"{name} was not sent: {error}", f"{type(error).__name__}: {error.strerror}", answered=True) from error
        except FAILURES as error:
            raise NotSent(f"{name} was not sent{self._way}: {error}", f"{type(error).__name__}: {error}", answered=False) from error

    def _offset(self, address: str, size: int) -> int:
        answer = self._client.head(address)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return 0
        _check(answer, PASSING)
        return min(int(answer.headers.get("Upload-Offset", "0")), size)

    def close(self) -> None:
        self._client.close()


def _check(answer: httpx.Response, passing: frozenset[int]) -> None:
    if answer.is_success:
        return
    words = answer.text[:300] or answer.reason_phrase  # a response to HEAD has no body
    said = f"the orchestrator answered {answer.status_code} to {answer.request.method} {answer.request.url.path}: {words}"
    if answer.is_client_error and answer.status_code not in passing:
        raise (Unwanted if answer.status_code == httpx.codes.CONFLICT else Refused)(said)
    raise NotSent(said, f"{answer.request.method} {answer.status_code}", answered=True)


def _read(content: Path | bytes, offset: int) -> bytes:
    if isinstance(content, bytes):
        return content[offset : offset + CHUNK_BYTES]
    with content.open("rb") as file:
        file.seek(offset)
        piece = file.read(CHUNK_BYTES)
    if not piece:
        raise OSError(f"{content} is shorter than it was")
    return piece
