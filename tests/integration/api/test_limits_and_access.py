"""Tests the limits on the size of requests, and who may send them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr

from orchestrator.operations.context import Context
from tests.integration.api.conftest import serving

LIMIT = 10_000


@pytest.fixture
def small(ctx: Context) -> Iterator[httpx.Client]:
    """Return a client of a server that accepts only small requests."""
    with serving(replace(ctx, settings=ctx.settings.model_copy(update={"max_body_bytes": LIMIT, "max_model_bytes": LIMIT}))) as client:
        yield client


@pytest.fixture
def guarded(ctx: Context) -> Iterator[httpx.Client]:
    """Return a client of a server that requires a token."""
    with serving(replace(ctx, settings=ctx.settings.model_copy(update={"token": SecretStr("s3cret")}))) as client:
        yield client


def pieces(total: int) -> Iterator[bytes]:
    for _ in range(total // 1000):
        yield b" " * 1000


def test_a_body_over_the_limit_is_refused_declared_or_in_chunks(small: httpx.Client) -> None:
    for path, setting in (("/api/campaigns", "FLEETMARK_MAX_BODY_BYTES"), ("/api/models?name=m.onnx", "MAX_MODEL_BYTES")):
        for content in (b" " * (LIMIT + 1), pieces(2 * LIMIT)):
            answer = small.post(path, content=content)
            assert (answer.status_code, answer.json()["error"]) == (413, "TooLarge"), path
            assert str(LIMIT) in answer.json()["detail"]
            assert setting in answer.json()["detail"]
    assert small.get("/api/campaigns").json()["count"] == 0


def test_a_body_at_the_limit_is_taken(small: httpx.Client) -> None:
    assert small.post("/api/models?name=m.onnx", content=b"x" * LIMIT).status_code == 201
    assert small.post("/api/campaigns", content=b" " * LIMIT).status_code == 400  # the body is read and found to be empty


def test_a_refused_upload_leaves_no_file(small: httpx.Client, ctx: Context) -> None:
    small.post("/api/models?name=m.onnx", content=pieces(2 * LIMIT))
    assert [path for path in ctx.settings.models_dir.rglob("*") if path.is_file()] == []


def test_with_a_token_only_health_is_open(guarded: httpx.Client) -> None:
    assert guarded.get("/api/health").status_code == 200
    for method, path in (
        *(("GET", "/api/workers"), ("GET", "/metrics"), ("POST", "/api/campaigns"), ("POST", "/api/register"), ("POST", "/api/reset")),
        *(("GET", "/api/results/files"), ("POST", "/api/health"), ("GET", "/api/health/workers"), ("GET", "/api/nowhere")),
    ):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}, {"Authorization": "Bearer"}):
            answer = guarded.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized"), path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "Authorization: Bearer" in answer.json()["detail"]


def test_the_token_opens_and_reset_then_wants_to_be_meant(guarded: httpx.Client) -> None:
    guarded.headers["Authorization"] = "Bearer s3cret"
    device = {"device_name": "x", "capabilities": ["cpu.onnx"]}
    assert guarded.post("/api/register", json=device).json()["broker_url"].startswith("redis://")
    unmeant = guarded.post("/api/reset")
    assert (unmeant.status_code, '{"confirm": true}' in unmeant.json()["detail"]) == (400, True)
    assert guarded.get("/api/workers").json()["count"] == 1
    assert guarded.post("/api/reset", json={"confirm": True}).json()["workers_cleared"] is True
    assert guarded.get("/api/workers").json()["count"] == 0


def test_a_web_page_of_elsewhere_cannot_use_the_visitor_s_orchestrator(api: httpx.Client) -> None:
    refused = api.post("/api/reset", headers={"Origin": "https://evil.example"})
    assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    own = str(api.base_url).rstrip("/")
    assert api.get("/api/workers", headers={"Origin": own}).status_code == 200
