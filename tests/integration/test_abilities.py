"""Tests that jobs go only to workers that can do their work, from the recipe to the queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.models import store_model
from orchestrator.operations.submit import submit_recipe
from orchestrator.store import jobs
from orchestrator.store.tables import Job
from shared.adverts import model_key
from shared.errors import InvalidInput
from shared.recipes import parse_recipe
from tests.integration.test_way_of_a_job import job

Register = Callable[..., str]
WITHOUT: dict[str, Any] = {"work": {"cpu.torch": {"inference": {}}}, "services": {}}
WITH: dict[str, Any] = {"work": {"cpu.torch": {"inference": {}, "generation": {"transformers": "5.24.0"}}}, "memory_mb": 8_000}


def waits_for(ctx: Context, found: Job) -> str:
    with ctx.store.read() as session:
        return jobs.lane_of(session, jobs.get(session, found.id)).waiting_for


def test_a_language_model_waits_until_a_worker_with_its_library_is_there(ctx: Context, register: Register) -> None:
    register("bare", capabilities=("cpu.torch",), hardware=WITHOUT)
    made = submit_recipe(ctx, parse_recipe({"model": "file:///models/tiny", "on": ["cpu.torch"], "prompts": {}})).campaign
    assert made.warnings == ["no registered worker has cpu.torch and transformers yet; the job waits for one"]
    assert (job(ctx, made).queue, waits_for(ctx, job(ctx, made))) == (None, "waiting for a worker with cpu.torch and transformers")
    able = register("able", capabilities=("cpu.torch",), hardware=WITH)
    top_up(ctx)
    assert job(ctx, made).queue == f"worker.{able}"


def test_a_worker_of_the_version_before_gets_language_models_as_before(ctx: Context, register: Register) -> None:
    old = register("old", capabilities=("cpu.torch",), hardware={"memory_mb": 8_000})
    made = submit_recipe(ctx, parse_recipe({"model": "file:///models/tiny", "on": ["cpu.torch"], "prompts": {}})).campaign
    assert (made.warnings, job(ctx, made).queue) == ([], f"worker.{old}")


def test_a_lane_of_the_version_before_is_placed_as_before(ctx: Context, register: Register) -> None:
    made = submit_recipe(ctx, parse_recipe({"model": "file:///models/tiny", "on": ["cpu.torch"], "prompts": {}})).campaign
    with ctx.store.engine.begin() as connection:
        connection.execute(text("UPDATE lanes SET needs = NULL"))
    register("bare", capabilities=("cpu.torch",), hardware=WITHOUT)
    top_up(ctx)
    assert job(ctx, made).queue == "cpu.torch"


def test_a_started_service_goes_to_a_worker_that_can_start_it(ctx: Context, register: Register) -> None:
    register("bare", capabilities=("service.postgres",), hardware=WITHOUT)
    made = submit_recipe(ctx, parse_recipe({"service": {"type": "postgres"}})).campaign
    assert waits_for(ctx, job(ctx, made)) == "waiting for a worker with service.postgres and a server of postgres"
    able = register("able", capabilities=("service.postgres",), hardware={"services": {"postgres": "PostgreSQL 16.14"}})
    top_up(ctx)
    assert job(ctx, made).queue == f"worker.{able}"


def test_an_uploaded_model_that_fits_on_no_worker_says_how_much_memory_it_takes(ctx: Context, register: Register) -> None:
    register("able", capabilities=("cpu.torch",), hardware={**WITH, "memory_mb": 1})
    config = {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "torch_dtype": "float32"}
    stored = store_model(ctx, [json.dumps(config).encode()], "config.json")
    weights = store_model(ctx, [b"w" * 2 * 2**20], "model.safetensors")
    entry = {
        "model": f"sha256:{stored.sha256}",
        "companions": [{"name": "model.safetensors", "sha256": weights.sha256, "size": weights.size}],
    }
    made = submit_recipe(ctx, parse_recipe({"models": [entry], "on": ["cpu.torch"], "prompts": {}})).campaign
    assert waits_for(ctx, job(ctx, made)) == "waiting for a worker with cpu.torch, transformers and 2 MB for the model"


def test_a_worker_with_the_model_in_its_cache_is_preferred(ctx: Context, register: Register) -> None:
    register("first", capabilities=("cpu.torch",), hardware=WITH)
    having = register("second", capabilities=("cpu.torch",), hardware=WITH)
    ctx.registry.heartbeat(having, metrics={"models": [model_key("hf://org/tiny")]})
    made = submit_recipe(ctx, parse_recipe({"model": "hf://org/tiny", "on": ["cpu.torch"], "prompts": {}})).campaign
    assert job(ctx, made).queue == f"worker.{having}"


def test_a_language_model_on_a_hub_is_a_whole_repository_and_another_model_is_a_file(ctx: Context) -> None:
    of_model = {"on": ["cpu.torch"], "prompts": {}}
    made = submit_recipe(ctx, parse_recipe({"model": "hf://org/tiny@v1", **of_model})).campaign
    assert job(ctx, made).model_name == "tiny@v1"
    with pytest.raises(InvalidInput, match=r"a snapshot on a hub is written hf://org/repo\[@revision\], which is the whole repository"):
        submit_recipe(ctx, parse_recipe({"model": "hf://org/tiny/config.json", **of_model}))
    with pytest.raises(InvalidInput, match=r"a file on a hub is written hf://org/repo\[@revision\]/path/to/model\.onnx"):
        submit_recipe(ctx, parse_recipe({"model": "hf://org/tiny", "on": ["cpu.onnx"]}))
