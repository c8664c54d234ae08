"""Drives any address that speaks OpenAI's protocol: `/v1/chat/completions` and `/v1/completions`, streamed (SSE) or not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shared.request_records import WRONG
from worker.drivers.frames import BLANK_LINE, event_of, frames_of
from worker.drivers.language_model import LanguageModelDriver
from worker.drivers.reading import Reading, whole

if TYPE_CHECKING:
    from worker.drivers.base import Work

DONE = b"[DONE]"
PATHS = ("/chat/completions", "/completions")  # an address may end with one of them, because people copy it from a manual


class OpenAiDriver(LanguageModelDriver):
    wire = "openai"
    key_variable = "FLEETMARK_WORKER_OPENAI_API_KEY"

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        base = self.address.path.partition("?")[0].rstrip("/")
        for path in PATHS:
            base = base.removesuffix(path)
        self._base = base or "/v1"

    @property
    def path(self) -> str:
        return self._base + PATHS[0 if self.chat else 1]

    def body(self, prompt: str) -> dict[str, Any]:
        settings = self.settings
        content: dict[str, Any] = {"model": self.model}
        content |= {"messages": [{"role": "user", "content": prompt}]} if self.chat else {"prompt": prompt}
        content |= {"temperature": settings.get("temperature", 0.0), "stream": self.stream}
        extra: dict[str, Any] = settings.get("extra_body", {})
        if "max_completion_tokens" not in extra:  # the newer name, which some models insist on
            content["max_tokens"] = self.max_tokens
        if settings.get("ignore_eos"):
            content["ignore_eos"] = True
        if "sampling_seed" in settings:
            content["seed"] = settings["sampling_seed"]
        if self.stream and settings.get("include_usage", True):
            content["stream_options"] = {"include_usage": True}
        return content | extra

    async def models(self) -> list[str]:
        found = await self.get(f"{self._base}/models")
        listed = found.get("data") if isinstance(found, dict) else None
        return [str(one["id"]) for one in listed if isinstance(one, dict) and one.get("id")] if isinstance(listed, list) else []

    def read(self, body: bytes, arrived: Sequence[int]) -> Reading:
        reading = Reading()
        if not self.stream or body.lstrip()[:1] == b"{":
            self._read_whole(reading, body, arrived)
            return reading
        for frame in frames_of(body, arrived, BLANK_LINE):
            name, data = event_of(frame.data)
            if data.strip() == DONE:
                reading.done = True
            elif data and not frame.whole:
                reading.fail(WRONG, f"the stream ended in the middle of an event: {_shown(data)}")
            elif data:
                self._read_event(reading, name, data, frame.at)
        reading.ended()
        return reading

    def _read_event(self, reading: Reading, name: str, data: bytes, at: int) -> None:
        content = _json(reading, data)
        if content is None:
            return
        if name == "error" or content.get("error"):
            reading.error(content.get("error") or content)
            return
        _read_usage(reading, content)
        choices = content.get("choices")
        for choice in choices if isinstance(choices, list) else [] if choices is None else [choices]:
            if not isinstance(choice, dict):
                reading.fail(WRONG, f"an event has a choice of an unknown form: {_shown(data)}")
                return
            finish = choice.get("finish_reason")
            delta = choice.get("delta") if self.chat else choice
            delta = delta if isinstance(delta, dict) else {}
            text = (delta.get("content") or delta.get("tool_calls") or delta.get("content")) if self.chat else delta.get("text")
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            reading.content(at, text, reasoning, last=bool(finish))
            ids = choice.get("token_ids")
            reading.ids += len(ids) if isinstance(ids, list) else 0
            if finish:
                reading.finish = str(finish)

    def _read_whole(self, reading: Reading, body: bytes, arrived: Sequence[int]) -> None:
        """Read an answer that is one JSON."""
        reading.streamed = False
        content = _json(reading, body)
        if content is None:
            return
        if content.get("error"):
            reading.error(content["error"])
            return
        if self.stream:
            reading.fail(WRONG, f"the request asked for a stream, and the answer is one JSON: {_shown(body)}")
        choices = content.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            reading.fail(WRONG, f"the answer has no choices: {_shown(body)}")
            return
        _read_usage(reading, content)
        ids = choices[0].get("token_ids")
        reading.ids = len(ids) if isinstance(ids, list) else 0
        reading.finish = str(choices[0].get("finish_reason") or "")
        reading.answered = arrived[-2]


class VllmDriver(OpenAiDriver):
    """Drives vLLM's own server, which also says its version."""

    key_variable = "FLEETMARK_WORKER_VLLM_API_KEY"

    async def server(self) -> dict[str, str]:
        found = await self.get("/version")
        version = found.get("version") if isinstance(found, dict) else None
        return {"vllm": str(version)} if version else {}


def _json(reading: Reading, data: bytes) -> dict[str, Any] | None:
    """Return the JSON object in the data of an event; otherwise the request has failed."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        reading.fail(WRONG, f"this is no JSON object: {_shown(data)}")
        return None
    return content


def _read_usage(reading: Reading, content: Mapping[str, Any]) -> None:
    """Take the numbers of tokens, if they are there. Some servers send them with each event; the last ones count."""
    usage = content.get("usage")
    if not isinstance(usage, dict):
        return
    reading.input, reading.output = whole(usage.get("prompt_tokens")), whole(usage.get("completion_tokens"))
    details = usage.get("prompt_tokens_details")
    reading.cached = whole(details.get("cached_tokens")) if isinstance(details, dict) else 0


def _shown(data: bytes) -> str:
    return repr(data[:100].decode(errors="replace"))
