"""Tests which workers a plan takes into account."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.submit import Submitted, submit_recipe
from orchestrator.registry import Registry
from orchestrator.store import job_lists, jobs
from shared.errors import InvalidInput, Unavailable
from shared.recipes import load_recipe

EVERY = "model: https://models.example/m.onnx\non: [cpu.onnx]\ndevices: every\n"


def devices(ctx: Context, submitted: Submitted) -> list[str | None]:
    with ctx.store.read() as session:
        heads = job_lists.heads(session, submitted.campaign.id, limit=100)
        return [jobs.get(session, head.job_id).queue or "" for head in heads]


def test_every_means_no_worker_that_has_left_or_was_removed(ctx: Context, register: Callable[..., str]) -> None:
    left, removed, stays = register("left"), register("removed"), register("stays")
    ctx.registry.remove(removed)
    ctx.registry.remove(left)
    submitted = submit_recipe(ctx, load_recipe(EVERY))
    assert (submitted.campaign.total_jobs, devices(ctx, submitted)) == (1, [f"worker.{stays}"])
    ctx.registry.remove(stays)
    with pytest.raises(InvalidInput, match="`every` means no device"):
        submit_recipe(ctx, load_recipe(EVERY))


def test_every_while_redis_is_away_is_unavailable_and_other_recipes_are_accepted(ctx: Context, register: Callable[..., str]) -> None:
    register("device")
    away = dataclasses.replace(ctx, registry=Registry("redis://127.0.0.1:1/0", 10.0))
    with pytest.raises(Unavailable, match="`devices: every` asks which workers there are, and Redis"):
        submit_recipe(away, load_recipe(EVERY))
    submitted = submit_recipe(away, load_recipe("model: https://models.example/m.onnx\non: [cpu.onnx]\n"))
    assert submitted.campaign.warnings == [
        "Redis does not answer, so it is not known whether there is a worker for these jobs; they wait for one"
    ]


def test_a_name_that_two_workers_have_is_refused_with_their_ids(ctx: Context, register: Callable[..., str]) -> None:
    ids = sorted(register("lab", device_info={"UDID": udid}) for udid in ("one", "two"))
    recipe = "model: https://models.example/m.onnx\non: [cpu.onnx]\ndevices: [{}]\n"
    with pytest.raises(InvalidInput, match=f"2 workers are called 'lab'; name the one that is meant by its id: {ids[0]}, {ids[1]}"):
        submit_recipe(ctx, load_recipe(recipe.format("lab")))
    assert submit_recipe(ctx, load_recipe(recipe.format(ids[0]))).campaign.total_jobs == 1
    ctx.registry.remove(ids[1])
    assert submit_recipe(ctx, load_recipe(recipe.format("lab"))).campaign.total_jobs == 1
