"""Tests that validating many recipes does not delay other calls."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import replace

from orchestrator.api.recipe_bodies import THREADS
from orchestrator.operations.context import Context
from orchestrator.registry import Registry
from orchestrator.registry.records import WorkerRecord
from tests.integration.api.conftest import serving
from tests.integration.api.test_slow_clients import BOUND_S, connect

CROWD = 60  # these are more callers than a server has threads
RECIPE = json.dumps({"model": "https://models.example/m.onnx", "on": ["cpu.onnx"]}).encode()


class HeldUp(Registry):
    """Delays the list of workers until the test lets it continue. Checking a recipe ends with a request for this list."""

    may_go_on: threading.Event
    waiting: threading.Semaphore

    def all(self) -> list[WorkerRecord]:
        self.waiting.release()
        assert self.may_go_on.wait(BOUND_S)
        return super().all()


def test_many_recipes_at_once_leave_the_threads_of_other_calls_free(ctx: Context) -> None:
    registry = HeldUp(ctx.settings.redis_url, ctx.settings.heartbeat_timeout_s)
    registry.may_go_on, registry.waiting = threading.Event(), threading.Semaphore(0)
    head = f"POST /api/recipes/validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(RECIPE)}\r\nConnection: close\r\n\r\n"
    with serving(replace(ctx, registry=registry)) as client, contextlib.ExitStack() as stack:
        stack.callback(registry.may_go_on.set)
        crowd = [stack.enter_context(connect(client)) for _ in range(CROWD)]
        for one in crowd:
            one.sendall(head.encode() + RECIPE)
        for _ in range(THREADS):
            assert registry.waiting.acquire(timeout=BOUND_S)
        assert client.get("/api/campaigns").status_code == 200
        registry.may_go_on.set()
        assert {one.makefile("rb").readline() for one in crowd} == {b"HTTP/1.1 200 OK\r\n"}
    registry.close()
