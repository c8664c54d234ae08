"""Tests that a recipe in the words of another tool is refused with what to write instead."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from shared.errors import InvalidInput
from shared.kinds.load_arrivals import Pattern
from shared.recipes import load_recipe, parse_recipe
from shared.recipes.cells import cells_of
from shared.recipes.other_tools import LENGTH_IN, PLACES, Advice
from shared.recipes.schema import Recipe
from shared.recipes.text import read_yaml

MODEL = "name: x\nmodel: squeezenet\non: [cpu.onnx]\n"
SERVICE = "name: x\nservice: {type: http, address: 'http://127.0.0.1:9/'}\n"
PROMPTS = "name: x\nmodel: tiny\non: [cpu.torch]\nprompts: {input_tokens: 8, output_tokens: 8}\n"
TASK = "name: x\nmodel: tiny\non: [cpu.torch]\ntask: planted_fact\n"
HARDWARE = "name: x\nhardware: {tests: [bandwidth]}\non: [hardware.cpu]\n"
REDIS, POSTGRES = "name: x\nservice: {type: redis, settings: {%s}}\n", "name: x\nservice: {type: postgres, settings: {%s}}\n"
RECIPES = {"model": MODEL, "prompts": PROMPTS, "task": TASK, "hardware": HARDWARE, "service": "name: x\nservice: {type: vllm}\n"}
# What a person may write for each `…`.
VALUES = {
    "concurrent_clients": 2,
    "rate": 5.0,
    "rate_from": 1.0,
    "pattern": "closed",
    "duration_s": 3.0,
    "count": 10,
    "inferences": 10,
    "requests": 2,
    "documents": 4,
    "name": "planted_fact",
    "p95_latency_ms": 20.0,
    "max_error_rate": 0.1,
    "type": "http",
    "address": "http://127.0.0.1:9/",
    "repeats": 3,
    "threads": 2,
    "batch_size": 2,
    "sequence": 8,
    "input_tokens": 16,
    "output_tokens": 16,
    "max_tokens": 16,
    "max_s": 3.0,
    "seconds": 3.0,
    "budget_s": 30.0,
}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (MODEL + "scenario: SingleStream\n", "write nothing, because it has a meaning only beside `service`"),  # MLPerf
        (SERVICE + "scenario: SingleStream\n", "write `load: {pattern: …}`"),
        (MODEL + "min_query_count: 1024\n", "did you mean 'inferences'?"),
        (SERVICE + "min_query_count: 1024\n", "write `load: {count: …}`"),
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


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (REDIS % "memory: 1gb", "did you mean 'maxmemory'?"),
        (REDIS % "threads: 4", "did you mean 'io_threads'?"),
        ("name: x\nservice: {type: redis, threads: 4}\n", "write `settings: {io_threads: …}`"),
        (POSTGRES % "connections: 100", "write `tuning: {max_connections: …}`"),
        ("name: x\nservice: {type: postgres, connections: 100}\n", "write `settings: {tuning: {max_connections: …}}`"),
        (
            "name: x\nservice: {type: postgres, address: 'postgresql://h/x', connections: 9}\n",
            "write `client: {settings: {concurrent_clients",
        ),
        (POSTGRES % "tuning: {connections: 100}", "did you mean 'max_connections'?"),
        (MODEL + "warmup: {duration: 3}\n", "write `warmup: {max_s: …}`"),
        (MODEL + "stop: {precision: 0.1, duration: 3}\n", "write `stop: {budget_s: …}`"),
        ("name: x\nhardware: {duration: 3}\n", "write `hardware: {seconds: …}`"),
        (MODEL + "options: {connections: 3}\n", "unknown key 'connections': Known: providers"),
        (PROMPTS + "osl: 8\n", "write `prompts: {output_tokens: …}`"),
        (TASK + "osl: 8\n", "did you mean 'max_tokens'?"),
        (MODEL + "requires: {memory: 3}\n", "did you mean 'min_memory_mb'?"),
    ],
)
def test_a_section_with_words_of_its_own_is_answered_with_those(recipe: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        load_recipe(recipe)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (MODEL + "duration: 3\n", "only beside one of `service`, `hardware`, and this recipe measures something else"),
        (MODEL + "concurrency: 3\n", "only beside `service`, and"),
        (MODEL + "thresholds: {}\n", "only beside `service`, and"),
        ("name: x\nmodels: [a, b]\non: [cpu.onnx]\nload: {users: 3}\n", "only beside `service`, and"),
        ("name: x\nvus: 3\n", "only beside `service`, and"),
        (SERVICE + "threads: 4\n", "only beside one of `model`, `models`, `prompts`, `task`, and"),
        (SERVICE + "isl: 128\n", "the clients of a service of the type http have no such setting"),
    ],
)
def test_no_key_is_advised_that_would_be_refused_beside_the_kind_of_work(recipe: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_recipe(recipe)
    (message,) = [field.message for field in caught.value.fields if "unknown key" in field.message]
    assert f"write nothing, because {'it has a meaning ' if said.startswith('only') else ''}{said}" in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (SERVICE + "sweep: {load: [{users: 3}, {users: 4}]}\n", "write `client: {settings: {concurrent_clients: …}}`"),
        (MODEL + "sweep: {warmup: [{duration: 3}]}\n", "write `warmup: {max_s: …}`"),
        (MODEL + "sweep: {options: [{threads: 1}, {memory: 3}]}\n", "unknown key 'memory': "),
    ],
)
def test_the_words_in_a_sweep_are_answered_too(recipe: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)) as caught:
        list(cells_of(load_recipe(recipe)))
    assert "nothing" not in caught.value.detail


def content_of(text: str) -> Any:
    return read_yaml(text)[0]


def filled(content: Any, key: str = "") -> Any:
    if isinstance(content, dict):
        return {name: filled(value, name) for name, value in content.items()}
    return VALUES[key] if content == "…" else content


def with_advice(recipe: Any, advised: Any) -> Any:
    """Return a recipe with what is advised: it is added to the sections that are there."""
    if not isinstance(recipe, dict) or not isinstance(advised, dict):
        return advised
    return recipe | {key: with_advice(recipe.get(key), value) for key, value in advised.items()}


def written(text: str) -> list[Any]:
    return [content_of(one) for one in re.findall(r"`([a-z]+: [^`]*)`", text)]


EVERY = dict.fromkeys((one, beside) for advices in PLACES.values() for one in advices for beside in one.beside or RECIPES)


@pytest.mark.parametrize(("advice", "beside"), [pair for pair in EVERY if pair[1] != "models"])
def test_what_is_advised_makes_a_valid_recipe(advice: Advice, beside: str) -> None:
    recipe = content_of(RECIPES[beside])
    assert parse_recipe(recipe)
    assert written(advice.text) or advice.text.startswith("nothing, because")
    for advised in written(advice.text):
        (key,) = advised
        made = parse_recipe(with_advice(recipe, filled(advised)))
        assert key in made.model_fields_set
        assert all(name in Recipe.model_fields for name in advised)


@pytest.mark.parametrize(("section", "advice"), LENGTH_IN.items())
def test_what_is_advised_for_a_length_makes_a_valid_recipe(section: str, advice: str) -> None:
    recipe = content_of(HARDWARE if section == "hardware" else MODEL)
    (advised,) = written(advice)
    assert list(advised) == [section]
    assert parse_recipe(with_advice(recipe | ({"stop": {"precision": 0.1}} if section == "stop" else {}), filled(advised)))


def test_every_pattern_that_is_advised_is_one() -> None:
    (advice,) = PLACES["scenario"]
    assert tuple(advice.text.partition("one of ")[2].split(", ")) == get_args(Pattern)


def test_no_word_of_another_tool_is_a_key_of_a_recipe() -> None:
    assert not set(PLACES) & set(Recipe.model_fields)
