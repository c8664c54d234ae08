"""Drives Triton Inference Server, and what else speaks KServe v2 over HTTP: one model, with tensors that are made from its own metadata.

The bodies of the requests are made before the load begins. An answer is judged by its status: an error of Triton has one of 400 or more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING, Any

import httptools

from shared.errors import EngineUnavailable, ModelInvalid
from worker.drivers.http_address import HttpAddress
from worker.drivers.http_lane import HttpLane, judged
from worker.drivers.http_talk import ask_once
from worker.drivers.tensors import Tensor, body_of, tensors_of

if TYPE_CHECKING:
    from worker.drivers.base import Lane, Sink, Work

DEFAULTS: dict[str, Any] = {"model": "", "model_version": "", "batch_size": 1, "payload_size_bytes": 0, "encoding": "binary"}
MOST_BODIES, MOST_BODY_BYTES, MOST_DRAWN = 64, 64 * 2**20, 2_000_000  # different bodies; then they start again
MOST_SAID = 300
COUNTED = ("queue", "compute_input", "compute_infer", "compute_output", "success", "fail")


class TritonLane(HttpLane):
    """Is one connection."""

    def __init__(self, driver: TritonDriver, sink: Sink) -> None:
        super().__init__(sink)
        self._driver = driver

    def send(self, number: int, scheduled: int) -> None:
        self.waiting.append(0)
        requests = self._driver.requests
        self.write(requests[number % len(requests)], scheduled)

    def on_body(self, body: bytes) -> None:
        if self.parser.get_status_code() >= 400 and not self._driver.said:
            self._driver.said = _error_in(body)

    def judge(self, operation: int, status: int) -> int:
        del operation
        return judged(status)


class TritonDriver:
    """Drives one model of one server."""

    wire = "triton"
    operations: tuple[str, ...] = ("infer",)

    def __init__(self, work: Work) -> None:
        self._settings = DEFAULTS | {name: value for name, value in work.settings.items() if value is not None}
        self._address = HttpAddress.of(work.address)
        self._base = self._address.path.partition("?")[0].rstrip("/")
        self._headers = {"Authorization": work.secrets["authorization"]} if "authorization" in work.secrets else {}
        self._seed = ""
        self._model: Mapping[str, Any] = {}
        self._tensors: list[Tensor] = []
        self._learning = asyncio.Lock()
        self.requests: list[bytes] = []
        self.opened = 0
        self.said = ""

    def begin(self, weights: Mapping[str, float], seed: str) -> None:
        self._seed = seed
        if self._tensors:
            self._make()

    async def prepare(self) -> dict[str, Any]:
        """Ask for the model, and send it one request, so that one that does not work is refused before the load."""
        ready = await self._ask("GET", "/v2/health/ready", read=False)
        if ready:
            raise EngineUnavailable(f"Triton at {self._address.place} is not ready: {ready}")
        await self._learn()
        self._make()
        self.opened += 1
        answer = await ask_once(self._address, self.requests[0])
        if answer.status != 200:
            raise EngineUnavailable(
                f"the model {self._model['name']} of Triton at {self._address.place} refuses a request (status {answer.status}): "
                f"{_error_in(answer.body)}"
            )
        server = await self._ask("GET", "/v2")
        return {
            "model": {name: self._model.get(name) for name in ("name", "versions", "platform")},
            "inputs": [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in self._tensors],
            "payload_bytes": sum(one.size for one in self._tensors),
            "bodies": len(self.requests),
            "server": {str(server.get("name", "triton")): str(server.get("version", ""))},
        }

    async def open(self, sink: Sink) -> Lane:
        async with self._learning:
            await self._learn()
            if not self.requests:
                self._make()
        lane = await self._address.connect(lambda: TritonLane(self, sink))
        self.opened += 1
        return lane

    async def clean(self) -> None:
        """Do nothing: `prepare` has made nothing in the server."""

    async def counted(self) -> dict[str, float]:
        """Return what the server has counted of this model until now; times are in nanoseconds. See `worker.drivers.base.Counter`."""
        await self._learn()
        found = await self._ask("GET", f"{self._path}/stats")
        totals = {"inferences": 0.0, "executions": 0.0} | {f"{name}_{part}": 0.0 for name in COUNTED for part in ("count", "ns")}
        for one in found.get("model_stats") or ():
            totals["inferences"] += one.get("inference_count", 0)
            totals["executions"] += one.get("execution_count", 0)
            for name in COUNTED:
                for part in ("count", "ns"):
                    totals[f"{name}_{part}"] += one.get("inference_stats", {}).get(name, {}).get(part, 0)
        return totals

    def facts(self) -> dict[str, Any]:
        return {"software": {"httptools": httptools.__version__}}

    @property
    def _path(self) -> str:
        version = self._settings["model_version"]
        return f"/v2/models/{self._model['name']}" + (f"/versions/{version}" if version else "")

    async def _learn(self) -> None:
        """Ask which model there is, and what its inputs are, unless that is known."""
        if self._tensors:
            return
        self._model = {"name": self._settings["model"] or await self._only_model()}
        self._model = await self._ask("GET", self._path)
        config = await self._ask("GET", f"{self._path}/config")
        self._tensors = tensors_of(
            self._model,
            batched=int(config.get("max_batch_size", 0)) > 0,
            batch_size=int(self._settings["batch_size"]),
            payload_bytes=int(self._settings["payload_size_bytes"]),
        )

    async def _only_model(self) -> str:
        listed = await self._ask("POST", "/v2/repository/index", body=b"{}")
        ready = sorted({str(one["name"]) for one in listed if one.get("state") == "READY"})
        if len(ready) != 1:
            have = f"has {len(ready)} models ready ({', '.join(ready)[:MOST_SAID]})" if ready else "has no model ready"
            raise ModelInvalid(f"Triton at {self._address.place} {have}; name one with client.settings.model")
        return ready[0]

    def _make(self) -> None:
        """Make the requests of a phase."""
        draw = Random(f"triton/{self._seed}")  # noqa: S311 - draws what is sent, no secrets
        size, elements = sum(one.size for one in self._tensors), sum(one.elements + one.elements * one.text_bytes for one in self._tensors)
        count = max(1, min(MOST_BODIES, MOST_BODY_BYTES // max(1, size), MOST_DRAWN // max(1, elements)))
        outputs = [str(one["name"]) for one in self._model.get("outputs") or ()]
        self.requests = [
            self._request(*body_of(self._tensors, outputs, draw, binary=self._settings["encoding"] == "binary")) for _ in range(count)
        ]

    def _request(self, body: bytes, json_length: int | None) -> bytes:
        kind = {"Content-Type": "application/json"} if json_length is None else {
            "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(json_length)
        }  # fmt: skip
        return self._address.request("POST", f"{self._base}{self._path}/infer", {**self._headers, **kind}, body)

    async def _ask(self, method: str, path: str, body: bytes = b"", *, read: bool = True) -> Any:
        """Return the JSON that Triton answers; with `read` false, why it answers with an error, or an empty text.

        Raises:
            EngineUnavailable: It answers with an error, or with something else than JSON.
        """
        self.opened += 1
        answer = await ask_once(self._address, self._address.request(method, f"{self._base}{path}", self._headers, body))
        if not read:
            return "" if answer.status == 200 else f"status {answer.status} {_error_in(answer.body)}".strip()
        if answer.status != 200:
            raise EngineUnavailable(
                f"Triton at {self._address.place} answers {method} {path} with status {answer.status}: {_error_in(answer.body)}"
            )
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise EngineUnavailable(
                f"{self._address.place} answers {method} {path} with something else than JSON, so it is no server of KServe v2"
            ) from error


def _error_in(body: bytes) -> str:
    """Return what Triton says about an error."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    said = found.get("error") if isinstance(found, dict) else None
    return str(said or body.decode(errors="replace"))[:MOST_SAID]
