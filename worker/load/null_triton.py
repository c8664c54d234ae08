"""Implements the null server of Triton: it has one model that takes texts, and computes nothing."""

from __future__ import annotations

import json
from typing import Any

from worker.load.null_protocol import Null

MODEL, MOST = "null", 65_536
METADATA = {"name": MODEL, "versions": ["1"], "inputs": [{"name": "IN", "datatype": "BYTES", "shape": [-1, 1]}], "outputs": []}
ANSWER = {"model_name": MODEL, "model_version": "1", "outputs": []}


class NullTriton(Null):
    """Answers each question about any model with the same model, and each inference without outputs."""

    def __init__(self, size: int) -> None:
        import httptools  # imported here, because each wire needs its own library

        del size  # it is that of the requests
        super().__init__()
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._answers = {
            b"infer": _answer(ANSWER),
            b"config": _answer({"max_batch_size": MOST}),
            b"index": _answer([{"name": MODEL, "version": "1", "state": "READY"}]),
        }
        self._model = _answer(METADATA)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_message_complete(self) -> None:
        self.write(self._answers.get(self._path.rpartition(b"/")[2], self._model))


def _answer(content: Any) -> bytes:
    body = json.dumps(content).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
