"""Implements the lane that keeps whole answers, with the moment at which each piece of them arrived.

While a load runs, an answer is only cut into its pieces and written to a file. It is read when the load has ended, so that reading it takes
nothing from the requests that follow.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Protocol

from shared.request_records import ERROR, SUCCESS
from worker.drivers.http_lane import HttpLane, judged

if TYPE_CHECKING:
    from worker.drivers.answer_file import AnswerFile
    from worker.drivers.base import Sink


class Asker(Protocol):
    """Is what the lane needs of its driver."""

    kept: AnswerFile | None

    def request(self, number: int) -> bytes:
        """Return the bytes of a request."""

    def refused(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Take note of an answer whose status is not 200."""

    def failure_in(self, body: bytes) -> int:
        """Return what became of a request whose answer looks like an error, although its status is 200."""


class AnswerLane(HttpLane):
    """Sends one request after the other, and keeps each answer. `first` is the first byte of the body, where there is one.

    The headers of a streamed answer are often sent before anything is computed, so their first byte says nothing.
    """

    def __init__(self, asker: Asker, sink: Sink) -> None:
        super().__init__(sink)
        self._asker = asker
        self._number = 0
        self._pieces: list[bytes] = []
        self._arrived = array("q")  # for each piece: when it arrived, and how many bytes it has
        self._headers: dict[str, str] = {}
        self._kept = False

    def send(self, number: int, scheduled: int) -> None:
        data = self._asker.request(number)
        self._number = number
        self._pieces = []
        self._arrived = array("q")
        self._headers = {}
        self._kept = False
        self.waiting.append(0)
        self.write(data, scheduled)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if name.lower() == b"retry-after":
            self._headers["retry-after"] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        if not self._pieces:
            self.first = self.last
        self._pieces.append(body)
        self._arrived.append(self.last)
        self._arrived.append(len(body))

    def judge(self, operation: int, status: int) -> int:
        del operation
        body = b"".join(self._pieces)
        failure = judged(status)
        if failure != SUCCESS:
            self._asker.refused(status, self._headers, body)
        elif b'"error"' in body or b"event: error" in body:
            failure = self._asker.failure_in(body)  # seldom, so that reading it now costs little
        self._write_down(body, status, failure)
        return failure

    def _end(self, failure: int) -> None:
        if self.waiting and not self._gone and not self._kept:
            self._write_down(b"".join(self._pieces), 0, failure or ERROR)
        super()._end(failure)

    def _write_down(self, body: bytes, status: int, failure: int) -> None:
        """Write down the answer. The next record of the sink is that of its request."""
        self._kept = True
        if self._asker.kept is not None:
            self._asker.kept.add(self.sink.recorded, self._number, self.sent, self._arrived, body, status, failure)
