"""What the device says of itself to whoever asks it directly: `GET /api/v1/info` and `GET /health`.

The standard library's server: a Raspberry Pi installs no web framework, and at rest it costs nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from shared.errors import InvalidInput
from shared.ids import SHA256
from worker.activity import Snapshot
from worker.agent.capabilities import offers
from worker.hardware import Hardware
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

Describe = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Vitals:
    """How the worker is right now; `agent_id` is empty until it has registered."""

    agent_id: str = ""
    broker_connected: bool = False
    doing: Snapshot = field(default_factory=Snapshot)
    at: datetime | None = None

    def as_health(self) -> dict[str, Any]:
        return {
            "status": "healthy" if self.agent_id and self.broker_connected else "degraded",
            "agent_id": self.agent_id,
            "registered": bool(self.agent_id),
            "broker_connected": self.broker_connected,
            "worker_status": self.doing.status,
            "current_job": self.doing.job[0] if self.doing.job else None,
            "stage": self.doing.stage,
            "progress": self.doing.progress,
            "timestamp": self.at.isoformat() if self.at else None,
        }


def open_info_server(settings: WorkerSettings, hardware: Hardware, vitals: Callable[[], Vitals], version: str) -> InfoServer | None:
    """The server that the settings ask for; None where they turn it off.

    Raises:
        InvalidInput: its address is taken.
    """
    if settings.worker_port == 0:
        return None

    def info() -> dict[str, Any]:
        return describe(hardware, settings, agent_id=vitals().agent_id, version=version)

    try:
        server = InfoServer(settings.worker_host, settings.worker_port, info=info, health=lambda: vitals().as_health())
    except OSError as error:
        raise InvalidInput(
            f"the info server cannot listen on {settings.worker_host}:{settings.worker_port} ({error.strerror}): "
            "another worker on this host? Choose another port with --http-port (FLEETMARK_WORKER_PORT), or 0 for none"
        ) from error
    log.info("info at %s/api/v1/info", server.address)
    return server


def describe(hardware: Hardware, settings: WorkerSettings, *, agent_id: str, version: str) -> dict[str, Any]:
    """The body of `/api/v1/info`, with memory and GPUs as they are now."""
    present = hardware.with_present_load()
    metrics = ["latency", "throughput", "memory_usage", *(["gpu_utilization"] if present.gpus.devices else [])]
    return {
        "agent_id": agent_id,
        "agent_type": settings.worker_type,
        "version": version,
        "system_info": {
            "system": {**asdict(present.system), "device_name": settings.device_name},
            "cpu": {**asdict(present.cpu), "features": list(present.cpu.features)},
            "memory": asdict(present.memory),
            "gpus": [_gpu(gpu) for gpu in present.gpus.devices],
            "frameworks": [asdict(framework) for framework in present.frameworks],
            "execution_providers": [asdict(provider) for provider in present.onnxruntime.providers],
            "capabilities": [asdict(offer) for offer in offers(present)],
            "models": cached_models(settings.cache_dir),
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
    """Files in the model cache, which names them by their content."""
    folder = cache_dir / "blobs"
    if not folder.is_dir():
        return []
    return [{"sha256": path.name, "size": path.stat().st_size} for path in sorted(folder.iterdir()) if SHA256.fullmatch(path.name)]


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
