"""Serves what the device says about itself when it is asked directly: `GET /api/v1/info` and `GET /health`.

On the loopback address it answers every program of this machine, but no web page in a browser. On any other address it requires the
worker's own token. Without the token `/health` only says whether the worker is healthy.

It uses the server of the standard library, so that a Raspberry Pi needs no web framework. While idle it uses no CPU.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore, Thread
from typing import Any
from urllib.parse import urlsplit

from shared.errors import InvalidInput
from shared.hosts import in_url, is_loopback, is_ours
from shared.ids import SHA256
from worker.access import ACCESS
from worker.activity import Snapshot
from worker.agent.benchmark_results import of_cpu, of_gpu
from worker.agent.capabilities import offers
from worker.hardware import Hardware
from worker.hardware.gpu import Gpu
from worker.hardware_tests.last import LastFigures
from worker.hardware_tests.last import read as read_last_figures
from worker.models.known import known_models
from worker.services.registry import startable
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16

Describe = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Vitals:
    """Holds the current state of the worker. `agent_id` is empty until it has registered."""

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
    """Open the server that the settings ask for. Returns None if they turn it off.

    Raises:
        InvalidInput: Its address is in use, or is open to the network and no token is set.
    """
    if settings.worker_port == 0:
        return None
    token = required_token(settings)

    def info() -> dict[str, Any]:
        return describe(hardware, settings, agent_id=vitals().agent_id, version=version)

    try:
        server = InfoServer(settings.worker_host, settings.worker_port, info=info, health=lambda: vitals().as_health(), token=token)
    except OSError as error:
        raise InvalidInput(
            f"the info server cannot listen on {in_url(settings.worker_host)}:{settings.worker_port} ({error.strerror}): "
            "another worker on this host? Choose another port with --http-port (FLEETMARK_WORKER_PORT), or 0 for none"
        ) from error
    log.info("info at %s/api/v1/info", server.address)
    return server


def required_token(settings: WorkerSettings) -> str:
    """Return the token that the info server asks for. It is empty on a loopback address, where only this machine can ask.

    Raises:
        InvalidInput: The address is open to the network, and no token is set.
    """
    if is_loopback(settings.worker_host):
        return ""
    if not settings.token:
        raise InvalidInput(
            f"the info server on {settings.worker_host} would tell anyone what this device is and does: set FLEETMARK_TOKEN, "
            "which whoever asks then has to send, or stay on 127.0.0.1 (FLEETMARK_WORKER_HOST)"
        )
    return settings.token.get_secret_value()


def describe(hardware: Hardware, settings: WorkerSettings, *, agent_id: str, version: str) -> dict[str, Any]:
    """Return the body of `/api/v1/info`, with the current state of memory and GPUs."""
    present = hardware.with_present_load()
    last = read_last_figures(settings.cache_dir)
    access = ACCESS[settings.worker_type]
    return {
        "agent_id": agent_id,
        "agent_type": settings.worker_type,
        "version": version,
        "system_info": {
            "system": {**asdict(present.system), "device_name": settings.device_name},
            "cpu": {**asdict(present.cpu), "features": list(present.cpu.features), "benchmark_results": of_cpu(last)},
            "memory": asdict(present.memory),
            "gpus": [_gpu(gpu, last) for gpu in present.gpus.devices],
            "gpu_sources": dict(present.gpus.said),
            "frameworks": [asdict(framework) for framework in present.frameworks],
            "execution_providers": [asdict(provider) for provider in present.onnxruntime.providers],
            "capabilities": [asdict(offer) for offer in offers(present, access)],
            "services": startable() if access.starts_services else {},
            "models": cached_models(settings.cache_dir),
            "metrics": access.metrics(has_gpu=bool(present.gpus.devices), metrics_url=settings.worker_metrics_url),
        },
    }


def _gpu(gpu: Gpu, last: list[LastFigures]) -> dict[str, Any]:
    """Return a GPU in the form of the contract. Values that only a `hardware.cuda` job can measure are null until there was one."""
    found = asdict(gpu)
    del found["supported_precisions"]
    return {**found, "benchmark_results": of_gpu(gpu, last)}


def cached_models(cache_dir: Path) -> list[dict[str, Any]]:
    """Return the models in the cache, the last used one first, and then the files of no known model, such as those of earlier versions.

    The name of each file in the cache is the SHA-256 of its content.
    """
    folder = cache_dir / "blobs"
    if not folder.is_dir():
        return []
    models = known_models(cache_dir)
    found: list[dict[str, Any]] = [
        {"sha256": model.sha256, "size": model.size, "name": model.name, "sources": list(model.sources), "files": len(model.files)}
        for model in models
    ]
    known = {file for model in models for file in model.files}
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # the file was evicted after the folder was listed
            if SHA256.fullmatch(path.name) and path.name not in known:
                found.append({"sha256": path.name, "size": path.stat().st_size})
    return found


class InfoServer:
    """Serves in a thread until it is closed."""

    def __init__(self, host: str, port: int, *, info: Describe, health: Describe, token: str = "") -> None:
        """Start the server.

        Args:
            info: Returns the body of `/api/v1/info`.
            health: Returns the body of `/health`. If its `status` is `degraded`, the HTTP status is 503.
            token: A request without it gets almost no information. Empty for the loopback address, which other machines cannot reach.

        Raises:
            OSError: The server cannot listen on the address.
        """
        handler = type("Handler", (_Handler,), {"info": staticmethod(info), "health": staticmethod(health), "token": token.encode()})
        self._server = _Server((host, port), handler)
        self._thread = Thread(target=self._server.serve_forever, name="info", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{in_url(str(host))}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class _Server(ThreadingHTTPServer):
    """Starts one thread for each connection, up to `MAX_CONNECTIONS`, because a measured device has no more to spare. Closes any other."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._places = BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:  # `::` means every address, also where the system keeps IPv4 apart
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class _Handler(BaseHTTPRequestHandler):
    info: Describe
    health: Describe
    token: bytes
    timeout = 10
    server_version, sys_version = "fleetmark-worker", ""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.rstrip("/")
        if not self.token and not is_ours(self.headers.get("Host", ""), "localhost"):
            detail = "this worker answers to localhost alone: a web page could be behind another name"
            self._answer(403, {"error": "Forbidden", "detail": detail})
        elif path == "/health":
            body = self.health()
            shown = body if self._is_allowed() else {"status": body["status"]}
            self._answer(200 if body["status"] == "healthy" else 503, shown)
        elif not self._is_allowed():
            self._answer(401, {"error": "Unauthorized", "detail": "send this worker's token: the header `Authorization: Bearer <token>`"})
        elif path == "/api/v1/info":
            self._answer(200, self.info())
        else:
            self._answer(404, {"error": "NotFound", "detail": f"{path or '/'} is not here; try /api/v1/info or /health"})

    def _is_allowed(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        return not self.token or (scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token))

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class calls it by
        log.debug(format, *args)
