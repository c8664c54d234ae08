"""Tests what a recipe may say about language models, and the jobs that it means."""

from __future__ import annotations

import pytest

from shared.errors import InvalidInput
from shared.inputs import ModelRef
from shared.kinds.generation import GenerationSpec, PromptsSection
from shared.recipes import load_recipe
from shared.recipes.cells import cells_of
from shared.workloads import Workload

BASE = "model: ./tiny\non: [cpu.torch]\n"


def specs(text: str) -> list[GenerationSpec]:
    found = [cell.spec() for cell in cells_of(load_recipe(BASE + text))]
    assert all(isinstance(one, GenerationSpec) for one in found)
    return found  # type: ignore[return-value]  # just checked


def test_prompts_beside_a_model_make_it_a_generation() -> None:
    (one,) = specs("prompts: {input_tokens: 512, output_tokens: 128}\noptions: {batch_size: 4, dtype: bfloat16}\nloads: 2\n")
    assert (one.prompts.input_tokens, one.prompts.output_tokens, one.prompts.requests) == (512, 128, 10)
    assert (one.options.batch_size, one.options.dtype, one.loads, one.decoding.temperature) == (4, "bfloat16", 2, 0)
    assert load_recipe(BASE).kind == "inference"
    assert (load_recipe(BASE).repeats, load_recipe(BASE + "prompts: {}").repeats) == (6, 3)
    assert load_recipe(BASE + "prompts: {}\nrepeats: 7").repeats == 7
    assert load_recipe(BASE + "prompts: {}").kind == "generation"
    assert load_recipe("models: [a, b]\non: [gpu.cuda.torch]\nprompts: {}").kind == "generation"


def test_lengths_batches_and_decoding_can_be_swept() -> None:
    found = specs(
        "prompts: {requests: 3}\nsweep: {prompts.output_tokens: [8, 16], options.batch_size: [1, 4], decoding.temperature: [0, 1]}"
    )
    assert len(found) == 8
    assert {(one.prompts.output_tokens, one.options.batch_size, one.decoding.temperature) for one in found} == {
        (tokens, batch, temperature) for tokens in (8, 16) for batch in (1, 4) for temperature in (0, 1)
    }
    assert {one.prompts.requests for one in found} == {3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompts: {}\ninferences: 3", r"`inferences` cannot stand beside `prompts`: it has no effect"),
        ("prompts: {}\noptions: {graph: all}", r"options\.graph has no effect on a language model"),
        ("prompts: {}\noptions: {shapes: {ids: [1]}}", r"options\.shapes has no effect on a language model"),
        ("prompts: {}\nsweep: {options.graph: [all, basic]}", r"options\.graph has no effect on a language model"),
        ("prompts: {output_tokens: 0}", r"prompts\.output_tokens: line 3: Input should be greater than or equal to 1, not 0"),
        ("prompts: {}\ndecoding: {top_k: 5}", r"decoding\.top_k has no effect at the temperature 0"),
        ("prompts: {}\ndecoding: {temperature: .nan}", r"decoding\.temperature"),
        ("decoding: {temperature: 1}", r"`decoding` cannot stand beside `model`"),
        ("prompts: {}\nhardware: {}", r"has only one of `model`, `models`, `hardware`, `service`; it has `model`, `hardware`"),
        ("prompts: {}\nmodels: [a]", r"has only one of `model`, `models`, `hardware`, `service`; it has `model`, `models`"),
        ("prompts: {requests: 1000000, output_tokens: 1000}", r"more than \d+ stamps; measure fewer"),
        ("prompts: {tokens: 3}", r"prompts.*unknown key 'tokens'"),
    ],
)
def test_what_has_no_effect_or_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        list(cells_of(load_recipe(BASE + text)))


def test_prompts_need_a_model_and_a_device_that_runs_language_models() -> None:
    with pytest.raises(InvalidInput, match="`prompts` needs a model: write `model` or `models` beside it"):
        load_recipe("prompts: {}\non: [cpu.torch]")
    with pytest.raises(InvalidInput, match=r"this is 'generation'; write one of: cpu\.torch, gpu\.cuda\.torch"):
        load_recipe("model: ./tiny\nprompts: {}\non: [cpu.onnx]")
    with pytest.raises(InvalidInput, match=r"`models\.1\.inferences` cannot stand beside `prompts`: write `prompts\.requests`"):
        load_recipe("models: [a, {model: b, inferences: 3}]\nprompts: {}\non: [cpu.torch]")


def test_a_job_says_what_it_is_and_keeps_its_settings_under_their_names() -> None:
    spec = GenerationSpec(prompts=PromptsSection(output_tokens=7))
    flat = Workload(spec=spec, inputs={"model": ModelRef(source="https://models.example/a", name="a")}).model_dump(mode="json")
    assert (flat["kind"], flat["prompts"]["output_tokens"], flat["decoding"]["temperature"]) == ("generation", 7, 0)
