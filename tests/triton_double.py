"""Stands in for Triton Inference Server: the calls of KServe v2 that the driver uses, with the answers and errors of Triton 2.51.

Its model gives its input back. `make test-services` runs the same tests on a real server.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

from tests.server_threads import http_thread

BYTES_OF = {"FP32": 4, "INT64": 8, "INT32": 4, "FP16": 2, "BF16": 2, "UINT8": 1, "BOOL": 1}
FORMS = {"FP32": "f", "INT64": "q", "INT32": "i", "UINT8": "B"}
QUEUE_NS, COMPUTE_NS = 50_000, 300_000  # that it says of each request


@dataclass
class Model:
    """Describes a model as Triton does. With `max_batch_size`, the first dimension of the shapes is that of the batch."""

    name: str = "identity"
    datatype: str = "FP32"
    shape: tuple[int, ...] = (-1, -1)
    max_batch_size: int = 8
    state: str = "READY"

    def metadata(self) -> dict[str, Any]:
        said = {"datatype": self.datatype, "shape": list(self.shape)}
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": "python",
            "inputs": [{"name": "INPUT", **said}],
            "outputs": [{"name": "OUTPUT", **said}],
        }


@dataclass
class TritonDouble:
    """Holds the models, what was asked, and what was counted. `ready` is what the health check says; `busy` refuses requests.

    Without `tells` it has no statistics, as other servers of KServe v2.
    """

    models: list[Model] = field(default_factory=lambda: [Model()])
    ready: bool = True
    busy: bool = False
    tells: bool = True
    inferences: int = 0
    shapes: list[list[int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        if path == "/v2/health/ready":
            return (200 if self.ready else 400), b""
        if path == "/v2":
            return 200, {"name": "triton", "version": "2.51.0", "extensions": ["binary_tensor_data", "statistics"]}
        if (method, path) == ("POST", "/v2/repository/index"):
            return 200, [{"name": model.name, "version": "1", "state": model.state} for model in self.models]
        parts = path.removeprefix("/v2/models/").split("/")
        if parts == ["stats"]:
            return 200, self._statistics(self.models)
        model = next((one for one in self.models if one.name == parts[0] and one.state == "READY"), None)
        if model is None:
            return 400, {"error": f"Request for unknown model: '{parts[0]}' is not found"}
        if parts[1:3] == ["versions", "1"]:
            del parts[1:3]
        if parts[1:] == ["infer"]:
            return self._infer(model, headers, body)
        if parts[1:] == ["stats"] and not self.tells:
            return 404, {"error": "Not Found"}
        if parts[1:] == ["stats"]:
            return 200, self._statistics([model])
        return 200, {"name": model.name, "max_batch_size": model.max_batch_size} if parts[1:] == ["config"] else model.metadata()

    def _statistics(self, models: list[Model]) -> dict[str, Any]:
        def of(ns: int) -> dict[str, int]:
            return {"count": self.inferences, "ns": ns * self.inferences}

        inference = {"success": of(QUEUE_NS + COMPUTE_NS), "fail": {"count": 0, "ns": 0}, "queue": of(QUEUE_NS)}
        inference |= {"compute_input": of(0), "compute_infer": of(COMPUTE_NS), "compute_output": of(0)}
        counted = {"inference_count": self.inferences, "execution_count": (self.inferences + 1) // 2}
        return {"model_stats": [{"name": one.name, "version": "1", **counted, "inference_stats": inference} for one in models]}

    def _infer(self, model: Model, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        if self.busy:
            return 429, {"error": "Exceeds maximum queue size"}
        length = int(headers.get("inference-header-content-length", len(body)))
        asked, tensors = json.loads(body[:length]), body[length:]
        (given,) = asked["inputs"]
        shape, elements = given["shape"], math.prod(given["shape"])
        allowed = [wanted in (-1, size) for wanted, size in zip(model.shape, shape, strict=False)]
        if (given["name"], given["datatype"]) != ("INPUT", model.datatype) or len(shape) != len(model.shape) or not all(allowed):
            return 400, {"error": f"unexpected shape for input 'INPUT' for model '{model.name}'. Expected {list(model.shape)}, got {shape}"}
        if "data" in given:
            if len(given["data"]) != elements:
                return 400, {"error": "Unable to parse 'data': Shape does not match true shape of 'data' field"}
            tensors = json.dumps(given["data"]).encode()
        elif model.datatype == "BYTES":
            place = 0
            for _ in range(elements):
                place += 4 + struct.unpack_from("<I", tensors, place)[0]
            if place != len(tensors):
                return 400, {"error": "unexpected size of a tensor of the type BYTES"}
        elif len(tensors) != elements * BYTES_OF[model.datatype] or len(tensors) != given["parameters"]["binary_data_size"]:
            return 400, {"error": f"unexpected total byte size {len(tensors)} for input 'INPUT'"}
        self.inferences += 1
        self.shapes.append(shape)
        self.sizes.append(len(tensors))
        self.bodies.append(body)
        described = {"name": "OUTPUT", "datatype": model.datatype, "shape": shape}
        if "data" in given:
            return 200, {"model_name": model.name, "model_version": "1", "outputs": [{**described, "data": given["data"]}]}
        described["parameters"] = {"binary_data_size": len(tensors)}
        return 200, json.dumps({"model_name": model.name, "model_version": "1", "outputs": [described]}).encode() + tensors


@contextmanager
def triton_double(double: TritonDouble) -> Iterator[TritonDouble]:
    """Serve until the context is left."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        of: ClassVar[TritonDouble] = double

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = self.of.answer(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data)

        do_GET = do_POST = _serve

        def log_message(self, *_arguments: Any) -> None:
            """Write nothing."""

    with http_thread(Handler, quiet=True) as double.port:
        yield double
