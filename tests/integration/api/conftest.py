"""Starts a real API server on a free port, over the control plane of `tests/integration/conftest.py`."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from orchestrator.api import make_api
from orchestrator.api.connections import server_config
from orchestrator.dispatch.celery_queue import CeleryQueue
from orchestrator.operations.context import Context
from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.store import Store
from shared.clock import FakeClock

Serve = Callable[[Context], contextlib.AbstractContextManager[httpx.Client]]
START_S = 10.0


@contextlib.contextmanager
def serving(ctx: Context) -> Iterator[httpx.Client]:
    """Yield a client of a server that runs in a thread of this process."""
    # asyncio turns off Nagle's algorithm only on sockets whose protocol is set to TCP. Without this, every answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(make_api(ctx), ctx.settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + START_S
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.005)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30, trust_env=False, verify=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def api(ctx: Context) -> Iterator[httpx.Client]:
    with serving(ctx) as client:
        yield client


@pytest.fixture
def ctx_of(redis_url: str, clock: FakeClock, tmp_path: Path) -> Iterator[Callable[[str], Context]]:
    """Yield a control plane with a database for this test alone."""
    made: list[Context] = []

    def build(database_url: str) -> Context:
        settings = Settings(redis_url=redis_url, database_url=database_url, outputs_dir=tmp_path / "o", models_dir=tmp_path / "m")
        ctx = Context(settings, Store(database_url), Registry(redis_url, settings.heartbeat_timeout_s), CeleryQueue(redis_url), clock)
        made.append(ctx)
        return ctx

    yield build
    for ctx in made:
        ctx.queue.close()
        ctx.registry.close()
        ctx.store.close()
