"""What the device says of itself to whoever asks it directly: `GET /api/v1/info` and `GET /health`.

The standard library's server: a Raspberry Pi installs no web framework, and at rest it costs nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from worker.agent.capabilities import offers
from worker.hardware import Hardware

log = logging.getLogger(__name__)

Describe = Callable[[], dict[str, Any]]


def describe(hardware: Hardware, *, agent_id: str, agent_type: str, device_name: str, models: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """The body of `/api/v1/info`, with memory and GPUs as they are now."""
    present = hardware.with_present_load()
    metrics = ["latency", "throughput", "memory_usage", *(["gpu_utilization"] if present.gpus.devices else [])]
    return {
        "agent_id": agent_id,
        "agent_type": agent_type,
        "version": version,
        "system_info": {
            "system": {**asdict(present.system), "device_name": device_name},
            "cpu": {**asdict(present.cpu), "features": list(present.cpu.features)},
            "memory": asdict(present.memory),
            "gpus": [_gpu(gpu) for gpu in present.gpus.devices],
            "frameworks": [asdict(framework) for framework in present.frameworks],
            "execution_providers": [asdict(provider) for provider in present.onnxruntime.providers],
            "capabilities": [asdict(offer) for offer in offers(present)],
            "models": models,
            "metrics": metrics,
        },
    }


def _gpu(gpu: Any) -> dict[str, Any]:
    """As the contract has it; what only a `hardware.*` job can measure is null until one has."""
    found = asdict(gpu)
    precisions = list(found.pop("supported_precisions"))
    return {
        **found,
        "benchmark_results": {
            "memory_bandwidth": None,
            "compute_performance": None,
            "tensor_core_capabilities": {"generation": gpu.tensor_core_generation, "supported_precisions": precisions},
        },
    }


def cached_models(cache_dir: Path) -> list[dict[str, Any]]:
    """Models in the cache, by content: file names there are hashes."""
    folder = cache_dir / "models"
    if not folder.is_dir():
        return []
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and len(path.name.split(".")[0]) == 64]
    return [{"sha256": path.name.split(".")[0], "size": path.stat().st_size} for path in files]


class InfoServer:
    """Serves until closed."""

    def __init__(self, host: str, port: int, *, info: Describe, health: Describe) -> None:
        """
        Args:
            health: its `status` is `healthy` or `degraded`; the latter answers 503.

        Raises:
            OSError: the address cannot be listened on.
        """
        handler = type("Handler", (_Handler,), {"info": staticmethod(info), "health": staticmethod(health)})
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="info", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class _Handler(BaseHTTPRequestHandler):
    info: Describe
    health: Describe
    timeout = 10

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.rstrip("/")
        if path == "/api/v1/info":
            self._answer(200, self.info())
        elif path == "/health":
            body = self.health()
            self._answer(200 if body["status"] == "healthy" else 503, body)
        else:
            self._answer(404, {"error": "NotFound", "detail": f"{path or '/'} is not here; try /api/v1/info or /health"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class calls it by
        log.debug(format, *args)
