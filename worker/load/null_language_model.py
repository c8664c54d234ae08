"""Implements null servers of language models: each token is an event in a write of its own, and nothing is computed."""

from __future__ import annotations

import json
from typing import Any

from worker.load.null_protocol import Null

MODEL = "null"


class _NullLanguageModel(Null):
    """Answers each POST with a stream of `size` tokens, or with one JSON if the request asks for no stream, and each GET with one JSON."""

    kind = b"text/event-stream"

    def __init__(self, size: int) -> None:
        import httptools  # imported here, because each wire needs its own library

        super().__init__()
        self._parser = httptools.HttpRequestParser(self)
        self._size = size
        self._body = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":
            self._answer(self.models())
        elif b'"stream": true' not in self._body:
            self._answer(self.whole())
        else:
            self.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % self.kind)
            event = _chunk(self.event())
            for _ in range(self._size):
                self.write(event)
            self.write(b"".join([_chunk(part) for part in self.last()]) + b"0\r\n\r\n")

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def models(self) -> dict[str, Any]:
        raise NotImplementedError

    def whole(self) -> dict[str, Any]:
        raise NotImplementedError

    def event(self) -> bytes:
        raise NotImplementedError

    def last(self) -> list[bytes]:
        raise NotImplementedError


class NullOpenAi(_NullLanguageModel):
    """Speaks OpenAI's protocol. Its events are as long as those of vLLM, and fit both endpoints."""

    def models(self) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": MODEL, "object": "model"}]}

    def whole(self) -> dict[str, Any]:
        return {"choices": [{"message": {"content": "x" * self._size}, "text": "x", "finish_reason": "length"}], "usage": self._usage()}

    def event(self) -> bytes:
        choice = {"index": 0, "delta": {"content": " word"}, "text": " word", "logprobs": None, "finish_reason": None}
        content = {"id": "chatcmpl-" + 32 * "0", "object": "chat.completion.chunk", "created": 0, "model": MODEL, "choices": [choice]}
        return _event(content)

    def last(self) -> list[bytes]:
        ended = {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "length"}]}
        return [_event(ended), _event({"choices": [], "usage": self._usage()}), b"data: [DONE]\n\n"]

    def _usage(self) -> dict[str, int]:
        return {"prompt_tokens": 1, "completion_tokens": self._size, "total_tokens": self._size + 1}


class NullOllama(_NullLanguageModel):
    """Speaks Ollama's protocol; its lines fit both endpoints."""

    kind = b"application/x-ndjson"

    def models(self) -> dict[str, Any]:
        return {"models": [{"name": MODEL}], "version": "0"}

    def whole(self) -> dict[str, Any]:
        return {"model": MODEL, "message": {"content": "x"}, "response": "x", **self._counts()}

    def event(self) -> bytes:
        said = {"message": {"role": "assistant", "content": " word"}, "response": " word"}
        return json.dumps({"model": MODEL, "created_at": "2026-01-01T00:00:00.000000Z", **said, "done": False}).encode() + b"\n"

    def last(self) -> list[bytes]:
        return [json.dumps({"model": MODEL, "message": {"content": ""}, "response": "", **self._counts()}).encode() + b"\n"]

    def _counts(self) -> dict[str, Any]:
        return {"done": True, "done_reason": "length", "load_duration": 0, "prompt_eval_count": 1, "eval_count": self._size}


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
