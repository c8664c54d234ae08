"""Drives Ollama by its own protocol, `/api/chat` and `/api/generate`: lines of JSON.

Ollama also speaks OpenAI's protocol. Its own is used because only that says how long the model took to load, and the tokens of the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared.request_records import WRONG
from worker.drivers.frames import LINE_END, frames_of
from worker.drivers.language_model import LanguageModelDriver
from worker.drivers.reading import Reading, whole

if TYPE_CHECKING:
    from worker.drivers.base import Work


class OllamaDriver(LanguageModelDriver):
    wire = "ollama"
    key_variable = "FLEETMARK_WORKER_OLLAMA_API_KEY"

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._base = self.address.path.partition("?")[0].rstrip("/")

    @property
    def path(self) -> str:
        return self._base + ("/api/chat" if self.chat else "/api/generate")

    def body(self, prompt: str) -> dict[str, Any]:
        asked = {"messages": [{"role": "user", "content": prompt}]} if self.chat else {"prompt": prompt}
        options = {"num_predict": self.max_tokens, "temperature": self.settings.get("temperature", 0.0)}
        if "sampling_seed" in self.settings:
            options["seed"] = self.settings["sampling_seed"]
        return {"model": self.model, **asked, "stream": self.stream, "options": options, "keep_alive": -1}  # -1: it stays in memory

    async def models(self) -> list[str]:
        found = await self.get(f"{self._base}/api/tags")
        listed = found.get("models") if isinstance(found, dict) else None
        return [str(one["name"]) for one in listed if isinstance(one, dict) and one.get("name")] if isinstance(listed, list) else []

    async def server(self) -> dict[str, str]:
        found = await self.get(f"{self._base}/api/version")
        version = found.get("version") if isinstance(found, dict) else None
        return {"ollama": str(version)} if version else {}

    def read(self, body: bytes, arrived: Sequence[int]) -> Reading:
        reading = Reading(streamed=self.stream)
        for frame in frames_of(body, arrived, LINE_END):
            self._read_line(reading, frame.data, frame.at)
        if not reading.done:
            reading.fail(WRONG, "the answer ended before its last line, the one with `done`")
        return reading

    def _read_line(self, reading: Reading, line: bytes, at: int) -> None:
        if not line.strip():
            return
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            reading.fail(WRONG, f"this is no line with a JSON object: {line[:100].decode(errors='replace')!r}")
            return
        if content.get("error"):
            reading.error(content["error"])
            return
        done = content.get("done") is True
        said = content.get("message") if self.chat else content
        said = said if isinstance(said, dict) else {}
        text = said.get("content" if self.chat else "response")
        reading.content(at, text or said.get("tool_calls") or text, said.get("thinking"), last=done)
        if done:
            reading.done = True
            reading.finish = str(content.get("done_reason") or "stop")
            reading.input, reading.output = whole(content.get("prompt_eval_count")), whole(content.get("eval_count"))
            if isinstance(content.get("load_duration"), int):
                reading.load_ns = float(content["load_duration"])
