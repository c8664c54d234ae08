"""Tests what every kind of work must declare, and that a workload of each kind is unchanged after its JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from orchestrator.domain.stored import Unreadable, read_workload, written
from shared.errors import InvalidInput
from shared.ids import new_campaign_id
from shared.inputs import ModelRef
from shared.kinds.base import Kind
from shared.kinds.hardware import HardwareSpec
from shared.kinds.registry import KINDS
from shared.protocol.messages import Assignment
from shared.recipes import Recipe, load_recipe
from shared.recipes.cells import cells_of
from shared.workloads import Workload, inference_workload

MODEL = ModelRef(source="https://models.example/a.onnx", name="a.onnx")
CAMPAIGN = new_campaign_id(datetime(2026, 1, 1, tzinfo=UTC))


def workload_of(kind: Kind) -> Workload:
    if kind.name == "load":  # the only kind that cannot do without settings: which service
        cell = next(cells_of(load_recipe("service: {type: redis}")))
        return Workload(spec=cell.spec(), target=cell.target())
    return Workload(spec=kind.spec(), inputs=dict.fromkeys(kind.roles, MODEL))  # type: ignore[call-arg]  # each kind has its own default


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
def test_the_keys_of_a_kind_cannot_be_taken_for_those_of_the_envelope(kind: Kind) -> None:
    own = {*kind.spec.model_fields} - {"kind"} | {*kind.roles}
    assert own.isdisjoint({"kind", "format", *Workload.model_fields})


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
def test_a_kind_names_its_headline_among_its_figures(kind: Kind) -> None:
    assert kind.headline in kind.figures
    assert set(kind.marks) <= kind.keys <= set(Recipe.model_fields)


@pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
def test_a_workload_of_each_kind_is_read_back_as_it_was(kind: Kind) -> None:
    work = workload_of(kind)
    stored = json.loads(json.dumps(written(work)))
    assert read_workload(stored) == work
    sent: dict[str, object] = {"job_id": f"{CAMPAIGN}-job-1", "campaign_id": CAMPAIGN, "attempt": 1, "capability": "cpu.onnx"}
    sent["workload"] = work.model_dump(mode="json")
    assert Assignment.model_validate_json(json.dumps(sent)).workload == work


def test_an_inference_is_written_as_before_there_were_other_kinds() -> None:
    flat = inference_workload(MODEL, inferences=7).model_dump(mode="json")
    assert list(flat) == ["model", "inferences", "loads", "options", "repeats", "warmup", "stop", "timeout_s"]
    assert flat["inferences"] == 7


def test_another_kind_says_which_it_is() -> None:
    flat = Workload(spec=HardwareSpec(tests=("flops",), seconds=5)).model_dump(mode="json")
    assert (flat["kind"], flat["tests"], flat["seconds"]) == ("hardware", ["flops"], 5)


def test_a_kind_that_this_version_does_not_know_fails_that_job_alone() -> None:
    with pytest.raises(Unreadable, match=r"no kind of work 'singing'"):
        read_workload({"format": 2, "kind": "singing", "repeats": 1})


def test_an_inference_needs_its_model() -> None:
    with pytest.raises(ValidationError, match="a job of the kind inference needs model"):
        Workload.model_validate({"inferences": 3})


def test_a_number_is_still_no_text_in_a_message() -> None:
    with pytest.raises(ValidationError, match="valid integer"):
        Workload.model_validate_json(json.dumps({"model": {"source": "https://x/a.onnx", "name": "a.onnx"}, "inferences": "10"}))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("on: [cpu.onnx]", "it has none of them"),
        ("model: a\nhardware: {}\non: [cpu.onnx]", "has only one of `model`, `models`, `hardware`, `service`; it has `model`, `hardware`"),
        (
            "service: {type: redis}\nprompts: {}\non: [service.redis]",
            "`prompts`, `service` make different kinds of work; leave out all but one",
        ),
        ("hardware: {}\ninferences: 5", "`inferences` cannot stand beside `hardware`"),
        ("hardware: {}\noptions: {threads: 2}", "`options` cannot stand beside `hardware`"),
        (
            "hardware: {}\non: [cpu.onnx]",
            "cpu.onnx is for the kind of work 'inference', and this is 'hardware'; write one of: hardware.cpu",
        ),
        ("model: a\non: [hardware.cpu]", "hardware.cpu is for the kind of work 'hardware', and this is 'inference'"),
        ("hardware: {tests: [flops, flops]}", "each test is listed once"),
        (
            "hardware: {tests: [flops, bandwith]}",
            "hardware.tests.1: line 1: there is no test 'bandwith' of a device: did you mean 'bandwidth'? Known: bandwidth, flops, latency",
        ),
        ("hardware: {seconds: 0}", "greater than or equal to 1"),
    ],
)
def test_a_recipe_has_one_kind_of_work(recipe: str, message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        load_recipe(recipe)
    assert message in raised.value.detail + " ".join(field.message for field in raised.value.fields)


def test_a_recipe_for_the_device_needs_neither_a_model_nor_a_unit() -> None:
    recipe = load_recipe("hardware: {tests: [flops]}\nsweep: {hardware.seconds: [5, 10]}\n")
    assert recipe.on == ("hardware.cpu",)
    assert [cell.spec() for cell in cells_of(recipe)] == [HardwareSpec(tests=("flops",), seconds=seconds) for seconds in (5, 10)]


def test_a_sweep_over_tests_is_refused_if_one_of_them_is_unknown() -> None:
    recipe = load_recipe("hardware: {}\nsweep: {hardware.tests: [[flops], [bandwith]]}\n")
    with pytest.raises(InvalidInput, match=r"hardware\.tests\.0: there is no test 'bandwith' of a device: did you mean 'bandwidth'\?"):
        list(cells_of(recipe))


def test_a_stored_job_of_a_test_that_this_version_does_not_know_is_read() -> None:
    stored = Workload(spec=HardwareSpec(tests=("flops",))).model_dump(mode="json")
    stored["tests"] = ["hashing"]
    read = Workload.model_validate(stored)
    assert isinstance(read.spec, HardwareSpec)
    assert read.spec.tests == ("hashing",)


def test_a_recipe_that_is_written_out_with_every_key_is_read_back() -> None:
    for text in ("model: a\non: [cpu.onnx]", "hardware: {tests: [flops]}"):
        recipe = load_recipe(text)
        assert load_recipe(recipe.model_dump_json()) == recipe
