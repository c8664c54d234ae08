"""Provides a control plane with a real database (SQLite and PostgreSQL) and a real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.dispatch.celery_queue import CeleryQueue
from orchestrator.operations.context import Context
from orchestrator.operations.short_form import ShortCampaign
from orchestrator.operations.submit import Submitted, submit_short
from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.store import Store
from shared.clock import FakeClock
from shared.workers import DeviceInfo, Registration

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, migrated_url: str, redis_url: str) -> Settings:
    return Settings(
        database_url=migrated_url,
        redis_url=redis_url,
        outputs_dir=tmp_path / "outputs",
        models_dir=tmp_path / "models",
        recipes_dir=tmp_path / "recipes",
        watch_sweep_s=0.1,
        deadline_grace_s=10.0,
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def ctx(settings: Settings, clock: FakeClock) -> Iterator[Context]:
    context = Context(
        settings=settings,
        store=Store(settings.database_url),
        registry=Registry(settings.redis_url, settings.heartbeat_timeout_s),
        queue=CeleryQueue(settings.redis_url),
        clock=clock,
    )
    yield context
    context.queue.close()
    context.registry.close()
    context.store.close()


@pytest.fixture
def register(ctx: Context) -> Callable[..., str]:
    """Register a worker, and return its id."""

    def enter(name: str = "device", capabilities: tuple[str, ...] = ("cpu.onnx",), **more: object) -> str:
        registration = Registration.model_validate(
            {"device_name": name, "capabilities": list(capabilities), "device_info": DeviceInfo(UDID=name), **more}
        )
        return ctx.registry.register(registration)[0]

    return enter


@pytest.fixture
def submit(ctx: Context) -> Callable[..., Submitted]:
    """Submit the short form with `jobs` jobs on one compute unit."""

    def send(jobs: int = 1, unit: str = "cpu.onnx", key: str | None = None, **more: object) -> Submitted:
        jobs_asked = [{"compute_unit": unit, **more} for _ in range(jobs)]
        body = {"model_url": "https://models.example/squeezenet.onnx", "jobs": jobs_asked, "wait_for_device": True}
        return submit_short(ctx, ShortCampaign.model_validate(body, strict=False), key)

    return send
