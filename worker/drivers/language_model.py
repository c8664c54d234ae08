"""Implements what the drivers of all language models over HTTP have in common. A subclass knows the bodies of one protocol.

The bytes of a request are made before it is stamped: a body is a template with a place for the prompt, and a prompt is cut from a text that
exists already.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httptools

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import SUCCESS
from worker.drivers.answer_file import AnswerFile
from worker.drivers.answer_lane import AnswerLane
from worker.drivers.http_address import HttpAddress
from worker.drivers.http_talk import Answer, ask_once
from worker.drivers.keys import about_key
from worker.drivers.prompts import Prompts, as_json, prompts_of
from worker.drivers.settling import settle_answers

if TYPE_CHECKING:
    from worker.drivers.base import Lane, Sink, Work
    from worker.drivers.reading import Reading

PLACE = "\x00the prompt\x00"  # stands in a template where a prompt goes; no recipe can hold this text
PROBE = -1  # the number of the request that `prepare` sends, which no measured request has
MOST_SAID = 300


class LanguageModelDriver(ABC):
    """Drives one model at one address."""

    wire: str
    operations: tuple[str, ...] = ("ask",)
    key_variable: str
    """The variable of the worker's environment that holds the key of the service; error messages name it."""

    def __init__(self, work: Work) -> None:
        self.settings: Mapping[str, Any] = {name: value for name, value in work.settings.items() if value is not None}
        self.address = HttpAddress.of(work.address)
        self.stream = bool(self.settings.get("stream", True))
        self.max_tokens = int(self.settings.get("max_tokens", 64))
        self.chat = self.settings.get("endpoint", "chat") == "chat"
        self.kept: AnswerFile | None = None
        self.opened = 0
        self.said = ""
        self.model = str(self.settings.get("model") or "")
        self._key = work.secrets.get("key", "")
        self._seed = work.seed
        self._patience_s = float(self.settings.get("request_timeout_s", 300.0))
        self._prompts: Prompts = prompts_of(self.settings, self._seed)
        self._before = self._between = self._after = b""

    # What a protocol says

    @property
    @abstractmethod
    def path(self) -> str:
        """Return the path that requests go to."""

    @abstractmethod
    def body(self, prompt: str) -> dict[str, Any]:
        """Return the body of a request with this prompt."""

    @abstractmethod
    def read(self, body: bytes, arrived: Sequence[int]) -> Reading:
        """Read the body of an answer with the status 200; `arrived` is that of `worker.drivers.frames.frames_of`."""

    @abstractmethod
    async def models(self) -> list[str]:
        """Ask the service which models it has."""

    async def server(self) -> dict[str, str]:
        """Return the name and the version of the server, if its protocol has a word for it."""
        return {}

    # What `worker.drivers.base.Driver` asks for

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        del weights  # there is one operation
        self._prompts = prompts_of(self.settings, seed)

    async def prepare(self) -> dict[str, Any]:
        """Send one request, so that an address that cannot be measured is refused before the load."""
        await self._make()
        answer = await self.ask(self.request(PROBE))
        if answer.status != 200:
            raise EngineUnavailable(f"{self.address.place} answers with {self._words(answer.status, answer.headers, answer.body)}")
        reading = self.read(answer.body, (0, len(answer.body)))
        if reading.failure != SUCCESS:
            raise EngineUnavailable(f"{self.address.place} does not answer as it is asked: {self._masked(reading.said)}")
        counted = {"input_tokens": reading.input or None, "output_tokens": reading.output or None}
        return {"model": self.model, "first_answer": counted, **self._prompts.facts(), "server": await self.server()}

    async def open(self, sink: Sink) -> Lane:
        if not self._before:
            await self._make()
        lane = await self.address.connect(lambda: AnswerLane(self, sink))
        self.opened += 1
        return lane

    async def clean(self) -> None:  # noqa: B027 - most protocols leave nothing to clean
        """Do nothing: `prepare` has made nothing."""

    def facts(self) -> dict[str, Any]:
        return {"software": {"httptools": httptools.__version__}}

    def keep(self, records: Path) -> None:
        self.kept = AnswerFile(records.with_suffix(".answers"))

    def settle(self, records: Path) -> None:
        assert self.kept is not None
        kept, self.kept = self.kept, None
        kept.close()
        text_of = self._prompts.text if self.settings.get("keep_prompts") else None
        said = settle_answers(kept.path, records, self.read, text_of)
        self.said = self.said or self._masked(said)

    # What the lanes ask for

    def request(self, number: int) -> bytes:
        prompt = as_json(self._prompts.text(number))
        length = str(len(self._between) + len(prompt) + len(self._after)).encode()
        return b"".join((self._before, length, b"\r\n\r\n", self._between, prompt, self._after))

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if not self.said:
            self.said = self._words(status, headers, body)

    def failure_in(self, body: bytes) -> int:
        reading = self.read(body, (0, len(body)))
        self.said = self.said or self._masked(reading.said)
        return reading.failure

    # Outside of any measurement

    async def ask(self, request: bytes) -> Answer:
        """Send a request on a connection of its own."""
        self.opened += 1
        return await ask_once(self.address, request, self._patience_s)

    async def get(self, path: str) -> Any:
        """Return the JSON at a path, or None if there is none."""
        answer = await self.ask(self.address.request("GET", path, self._headers()))
        if answer.status in (401, 403):
            raise EngineUnavailable(f"{self.address.place} answers with {self._words(answer.status, answer.headers, answer.body)}")
        try:
            return json.loads(answer.body) if answer.status == 200 else None
        except (ValueError, RecursionError):
            return None

    async def _make(self) -> None:
        """Make the template of the requests. If the recipe names no model, the service is asked first."""
        if not self.model:
            known = await self.models()
            if len(known) != 1:
                listed = f"it has {len(known)}: {', '.join(known[:20])}" if known else "it names none"
                raise ModelInvalid(
                    f"`client.settings.model` is needed, because {self.address.place} does not have exactly one model; {listed}"
                )
            self.model = known[0]
        between, _, after = json.dumps(self.body(PLACE)).partition(json.dumps(PLACE))
        self._between, self._after = between.encode(), after.encode()
        accept = {"Content-Type": "application/json", "Accept": "text/event-stream" if self.stream else "application/json"}
        self._before = self.address.head("POST", self.path, self._headers() | accept, 0).removesuffix(b"0\r\n\r\n")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def _words(self, status: int, headers: Mapping[str, str], body: bytes) -> str:
        """Return what an answer says that is no success."""
        again = f" (Retry-After: {headers['retry-after']})" if headers.get("retry-after") else ""
        said = f"status {status}{again}: {message_in(body) or 'without a word'}"
        if status in (401, 403):
            said += f". {about_key(self.key_variable, given=bool(self._key))}"
        return self._masked(said)

    def _masked(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def message_in(body: bytes) -> str:
    """Return the message of an error, in the forms that servers of language models have for it, or the beginning of the body."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return " ".join(body.decode(errors="replace").split())[:MOST_SAID]
    for name in ("error", "message", "detail"):
        found = content.get(name) if isinstance(content, dict) else None
        if isinstance(found, dict) and found.get("message"):
            found = found["message"]
        if found:
            return str(found)[:MOST_SAID]
    return str(content)[:MOST_SAID]
