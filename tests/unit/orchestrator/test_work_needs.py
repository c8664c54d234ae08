"""Tests what the work of a recipe's jobs needs of a device."""

from __future__ import annotations

from typing import Any

from orchestrator.domain.model_memory import model_memory
from orchestrator.domain.planning import of_recipe, plan
from orchestrator.domain.work_needs import NO_NEEDS, WorkNeeds
from shared.inputs import Companion, ModelRef
from shared.recipes import parse_recipe
from tests.unit.orchestrator.test_model_memory import LLAMA_8B

SNAPSHOT = ModelRef(
    source=f"sha256:{'a' * 64}",
    name="tiny",
    sha256="a" * 64,
    size=10,
    companions=(Companion(name="model.safetensors", sha256="b" * 64, size=2**30),),
)


def needs(ref: ModelRef | None = None, memory: Any = None, /, **recipe: Any) -> list[WorkNeeds]:
    request = of_recipe(parse_recipe(recipe))
    return [job.needs for job in plan(request, [] if ref is None else [ref], [], [memory]).jobs]


def test_an_inference_needs_nothing_beside_its_capability() -> None:
    ref = ModelRef(source="https://models.example/a.onnx", name="a")
    assert needs(ref, model="https://models.example/a.onnx", on=["cpu.onnx"]) == [NO_NEEDS]
    assert needs(hardware={"tests": ["bandwidth"]}, on=["hardware.cpu"]) == [NO_NEEDS]


def test_a_language_model_needs_its_library_its_model_and_memory() -> None:
    memory = model_memory(LLAMA_8B, 2**30)
    prompts = {"input_tokens": 1_000, "output_tokens": 24}
    found = needs(SNAPSHOT, memory, model="x", on=["cpu.torch"], prompts=prompts, options={"batch_size": 4, "dtype": "bfloat16"})
    assert found == [
        WorkNeeds(
            kind="generation",
            model=str(SNAPSHOT.content_sha256),
            memory_mb=1_024 + 4 * 1_024 * 32 * 2 * 8 * 128 * 2 / 2**20,
            dtype="bfloat16",
        )
    ]


def test_a_model_that_was_not_fetched_yet_is_known_by_its_address() -> None:
    ref = ModelRef(source="hf://org/name", name="name")
    assert needs(ref, model="hf://org/name", on=["cpu.torch"], prompts={}) == [WorkNeeds(kind="generation", model="hf://org/name")]


def test_a_started_service_needs_its_server_and_one_that_runs_needs_nothing() -> None:
    assert needs(service={"type": "redis"}) == [WorkNeeds(service="redis", launcher="process")]
    assert needs(service={"type": "redis", "image": "redis:7"}) == [WorkNeeds(service="redis", launcher="container")]
    assert needs(service={"type": "redis", "address": "redis://127.0.0.1:6379"}) == [NO_NEEDS]


def test_what_is_stored_is_read_back_and_unknown_keys_of_a_newer_version_are_ignored() -> None:
    one = WorkNeeds(kind="generation", memory_mb=3.5)
    stored = one.stored()
    assert stored == {"kind": "generation", "memory_mb": 3.5}
    assert WorkNeeds.model_validate({**stored, "licence": "new"}) == one
    assert NO_NEEDS.stored() is None
