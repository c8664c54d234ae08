"""Tests that a recipe in the words of another tool is refused with what to write instead."""

from __future__ import annotations

import re

import pytest
import yaml

from shared.errors import InvalidInput
from shared.recipes import load_recipe
from shared.recipes.other_tools import PLACES
from shared.recipes.schema import Recipe

MODEL = "name: x\nmodel: squeezenet\non: [cpu.onnx]\n"
SERVICE = "name: x\nservice: {type: http, address: 'http://127.0.0.1:9/'}\n"


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (MODEL + "scenario: SingleStream\n", "write `load: {pattern: …}`"),  # MLPerf, optimum-benchmark
        (MODEL + "min_query_count: 1024\n", "did you mean 'inferences'?"),
        (SERVICE + "load: {target_qps: 100}\n", "did you mean 'rate'?"),
        (SERVICE + "concurrency: 8\n", "write `client: {settings: {concurrent_clients: …}}`"),  # AIPerf
        (SERVICE + "goodput: {time_to_first_token: 100}\n", "did you mean 'slo'?"),
        (SERVICE + "load: {rate_type: poisson}\n", "did you mean 'pattern'?"),  # GuideLLM
        (SERVICE + "max_seconds: 30\n", "write `load: {duration_s: …}`"),
        (MODEL + "input_shapes: {batch_size: 4}\n", "write `options: {batch_size: …, dims: {sequence: …}}`"),  # optimum-benchmark
        (MODEL + "options: {intra_op_num_threads: 2}\n", "did you mean 'threads'?"),
        (MODEL + "energy: true\n", "write nothing, because it is measured"),
        (MODEL + "TimesToRun: 5\n", "did you mean 'repeats'?"),  # Phoronix
        (SERVICE + "vus: 10\n", "write `client: {settings: {concurrent_clients: …}}`"),  # k6
        (SERVICE + "load: {stages: []}\n", "write `load: {pattern: ramp, rate_from: …"),
        (SERVICE + "thresholds: {}\n", "did you mean 'slo'?"),
        (SERVICE + "load: {users: 10}\n", "write `client: {settings: {concurrent_clients: …}}`"),  # Locust
        (SERVICE + "client: {type: http_stress, settings: {wait_time: 1}}\n", "a rate makes the pauses"),
        ("name: x\nservice: {type: http, url: 'http://127.0.0.1:9/'}\n", "did you mean 'address'?"),
        ("name: x\nmodel: squeezenet\n", "on: is missing; it says what a device must be able to do, such as [cpu.onnx]"),
    ],
)
def test_a_word_of_another_tool_is_answered_with_ours(recipe: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        load_recipe(recipe)


@pytest.mark.parametrize("advice", sorted(set(PLACES.values())))
def test_what_is_advised_are_keys_of_a_recipe(advice: str) -> None:
    written = re.findall(r"`([a-z]+: [^`]*)`", advice)
    assert written or advice.startswith("nothing, because")
    for text in written:
        key, content = text.partition(":")[0], next(iter(yaml.safe_load(text).values()))
        assert key in Recipe.model_fields
        model = Recipe.model_fields[key].annotation
        known = {name for one in [model, *getattr(model, "__args__", ())] for name in getattr(one, "model_fields", {})}
        assert not isinstance(content, dict) or not known or set(content) <= known


def test_no_word_of_another_tool_is_a_key_of_a_recipe() -> None:
    assert not set(PLACES) & set(Recipe.model_fields)
