"""Large artifacts, sent to the orchestrator in pieces that can be taken up again.

`PUT {host}/api/jobs/{job_id}/attempts/{n}/artifacts/{name}` with `Digest: sha-256=<base64>` of the whole file and
`Content-Range: bytes first-last/total`; a `HEAD` on the same address answers `Upload-Offset`, how much is already there.
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
# Answers that another try may change: a token being set, a server that is busy.
PASSING = frozenset({401, 403, 408, 425, 429})
# To a piece also: it does not continue what is there (another try asks first), the whole has another hash (it begins anew).
PASSING_OF_A_PIECE = PASSING | {409, 422}


class NotSent(Unavailable):
    """Not all of a file arrived; another try may do.

    Args:
        cause: the same for every file that meets the same.
        answered: whether it was the orchestrator that said so: then it may well take another file.
    """

    def __init__(self, detail: str, cause: str, *, answered: bool) -> None:
        super().__init__(detail)
        self.cause, self.answered = cause, answered


class Refused(Unavailable):
    """The orchestrator will not have this file by this way, now or later."""


class Unwanted(Refused):
    """The job has ended without us: nobody will ask for the file."""


class Uploads:
    """Sends files; one connection for the life of the worker."""

    def __init__(self, host: str, token: str | None, ca_file: Path | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = web_client(host, headers=headers, timeout=TIMEOUT, ca_file=ca_file)
        self._way = by_way_of(host)

    def send(self, result: Result, name: str, content: Path | bytes) -> None:
        """Send what the orchestrator does not have yet.

        Raises:
            Refused: the orchestrator does not take it; `Unwanted` when the job has ended.
            NotSent: not all of it arrived; another try may do.
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
    words = answer.text[:300] or answer.reason_phrase  # an answer to HEAD has no body
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
