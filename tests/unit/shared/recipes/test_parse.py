from __future__ import annotations

import json
from typing import Any

import pytest

from shared.engine_options import MAX_ITEMS
from shared.errors import InvalidInput
from shared.mistakes import MAX_FIELDS, MAX_SHOWN
from shared.recipes import load_recipe, parse_recipe
from shared.recipes.bounds import MAX_KEY
from shared.recipes.schema import MAX_UNITS

GOOD: dict[str, Any] = {"model": "m.onnx", "on": ["cpu.onnx"]}


def refused(content: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse_recipe(content)
    return caught.value


def test_each_mistake_is_named_with_its_line() -> None:
    with pytest.raises(InvalidInput) as caught:
        load_recipe("model: m.onnx\non:\n- cpu.onnx\n- cpu.onx\ninferencs: 3\noptions:\n  threads: 1:30\n")
    said = {field.path: field.message for field in caught.value.fields}
    assert said.keys() == {"on.1", "inferencs", "options.threads"}
    assert said["on.1"].startswith("line 4: unknown compute unit 'cpu.onx'")
    assert said["inferencs"].startswith("line 5: unknown key 'inferencs': did you mean 'inferences'?")
    assert said["options.threads"] == "line 7: Input should be a valid integer, not '1:30'"


def test_json_with_characters_in_two_escapes_is_a_recipe() -> None:
    content = GOOD | {"name": "🚀"}
    assert load_recipe(json.dumps(content)).name == "🚀"


def test_mistakes_without_number_are_cut_short_and_counted() -> None:
    error = refused(GOOD | {"labels": {f"label-{number}": number for number in range(5_000)}})
    assert len(error.fields) == MAX_FIELDS
    assert "(and 4999 more)" in error.detail


@pytest.mark.parametrize(
    ("more", "path", "said"),
    [
        ({"on": ["cpu.onx"] * (MAX_UNITS + 1)}, "on", f"a list of {MAX_UNITS + 1}; at most {MAX_UNITS}"),
        ({"models": ["\n"] * 1_001}, "models", "a list of 1001; at most 1000"),
        ({"devices": ["\n"] * 1_001}, "devices", "a list of 1001; at most 1000"),
        ({"options": {"shapes": {"x": ["?"] * (MAX_ITEMS + 1)}}}, "options.shapes.x", f"at most {MAX_ITEMS}"),
        ({"models": [{"model": "a", "companions": [{}] * 10_001}]}, "models.0.companions", "at most 10000"),
        ({"sweep": {"inferences": [1] * 100_001}}, "sweep.inferences", "at most 100000"),
        ({"labels": {"k" * (MAX_KEY + 1): "x"}}, f"labels.{'k' * 40}…", f"a key of {MAX_KEY + 1} characters"),
    ],
)
def test_what_is_too_long_is_refused_as_a_whole(more: dict[str, Any], path: str, said: str) -> None:
    (field,) = refused(GOOD | more).fields
    assert field.path == path
    assert said in field.message


def test_more_values_than_any_recipe_needs_are_refused() -> None:
    assert "more than 200000 values" in refused(GOOD | {"labels": {f"label-{number}": "" for number in range(200_000)}}).detail


def test_a_line_is_given_for_what_is_too_long() -> None:
    with pytest.raises(InvalidInput, match=r"on: line 2: a list of 101"):
        load_recipe("model: m.onnx\non: [" + "x," * 101 + "]")


def test_what_is_said_of_a_long_key_is_short() -> None:
    key = "k" * MAX_KEY
    (field,) = refused(GOOD | {key: 1}).fields
    assert field.path == key[:MAX_SHOWN]
    assert len(field.message) < MAX_SHOWN + 400


@pytest.mark.parametrize(
    ("more", "paths"),
    [
        ({"labels": {"str": 5}}, {"labels.str"}),
        ({"labels": {"tuple[x]": 5}}, {"labels.tuple[x]"}),
        ({"sweep": {"ModelEntry": []}}, {"sweep.ModelEntry"}),
        ({"options": {"shapes": {"str": ["a"]}}}, {"options.shapes.str.0"}),
        ({"options": {"values": {"str": None}}}, {"options.values.str"}),
        ({"options": {"values": {"float": {"array": [None]}}}}, {"options.values.float", "options.values.float.array"}),
        ({"str": 5}, {"str"}),
        ({"options": {"ModelEntry": 4}}, {"options.ModelEntry"}),
        ({"devices": 5}, {"devices"}),
    ],
)
def test_a_path_has_the_keys_of_the_recipe_and_no_names_of_types(more: dict[str, Any], paths: set[str]) -> None:
    assert {field.path for field in refused(GOOD | more).fields} == paths


@pytest.mark.parametrize(
    ("line", "path", "said"),
    [
        ("on: cpu.onnx", "on", "line 1: must be a list: write [cpu.onnx]"),
        ("on: cpu.onnx, CPU (CoreML)", "on", "line 1: must be a list: write [cpu.onnx, CPU (CoreML)]"),
        ("sweep: {options.threads: 2}", "sweep.options.threads", "line 1: must be a list: write [2]"),
        (
            "sweep: {options.threads: []}",
            "sweep.options.threads",
            "line 1: has no values, so there would be no job; list the values that jobs take, or leave this path out",
        ),
        ("models: https://me:secret@host/m.onnx", "models", "line 1: must be a list: write [https://***@host/m.onnx]"),
        ("on: {a: b}", "on", "line 1: must be a list, not {'a': 'b'}"),
        ("warmup: 3", "warmup", "line 1: must be a mapping of keys, not 3"),
    ],
)
def test_a_value_of_the_wrong_shape_says_how_to_write_it(line: str, path: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_recipe(line)
    assert said in [field.message for field in caught.value.fields if field.path == path]


@pytest.mark.parametrize("written", ["cpu", "cpu.onnx, cpu"])
def test_the_advice_for_a_compute_unit_that_is_not_known_is_not_refused_next(written: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_recipe(f"model: m.onnx\non: {written}")
    (field,) = caught.value.fields
    assert field.message.startswith("line 2: must be a list, such as [cpu.onnx]; unknown compute unit 'cpu': did you mean 'cpu.onnx', ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "r.yaml is empty; a recipe says what it measures"),
        ("# later\n", "r.yaml is empty; a recipe says what it measures"),
        ("a:\n\tb: 1\n", "line 2: a tab stands where YAML takes spaces only; indent this line with spaces"),
        ("a: 1\nb: 'x\nc: 2\n", "found unexpected end of stream (while scanning a quoted scalar in line 2)"),
        ("a: b: c\n", "line 1: mapping values are not allowed"),
        ("a: 1\nb: \x07\n", "line 2: the character '\\x07' is not accepted; remove it"),
        ("a: 1\na: 2\n", "line 2: the key 'a' is also in line 1"),
    ],
)
def test_text_that_is_no_recipe_says_why_and_in_which_line(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_recipe(text, "r.yaml")
    assert said in str(caught.value)
    assert "unicode string" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("service: {type: openai, address: ''}", "service.address: line 1: must not be empty"),
        ("hardware: {tests: []}\non: [hardware.cpu]", "hardware.tests: line 1: must not be empty"),
    ],
)
def test_what_is_empty_is_called_empty(line: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_recipe(line)
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["dataset: my.jsonl", "prompt: x", "max_tokens: 5", "evaluate: [rouge]"])
def test_a_key_that_stands_beside_a_task_is_not_called_unknown_in_it(key: str) -> None:
    with pytest.raises(InvalidInput, match=rf"task\.\w+: line 3: `{key.partition(':')[0]}` stands beside `task`, not in it"):
        load_recipe(f"model: hf://a/b\non: [cpu.torch]\ntask: {{name: summarization, {key}}}")


LANGUAGE = "on: [cpu.torch]\nprompts: {}\n"
FILE = r"a file on a hub is written hf://org/repo\[@revision\]/path/to/model\.onnx"
SNAPSHOT = r"a snapshot on a hub is written hf://org/repo\[@revision\]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("on: [cpu.onnx]\nmodel: hf://org", rf"model: line 2: 'hf://org': {FILE}"),
        ("on: [cpu.onnx]\nmodel: hf://org/repo", rf"model: line 2: 'hf://org/repo': {FILE}"),
        (f"{LANGUAGE}model: hf://org", rf"model: line 3: 'hf://org': {SNAPSHOT}"),
        (f"{LANGUAGE}model: HF://a/b@../..", SNAPSHOT),
        (f"{LANGUAGE}model: hf://a/b@..", SNAPSHOT),
        (
            f"{LANGUAGE}models:\n  - hf://a/b\n  - {{model: hf://a/b/c.onnx}}\n  - hf://a",
            rf"models.1.model: line 5: .*{SNAPSHOT}.*\(and 1 more\)",
        ),
    ],
)
def test_an_address_that_no_hub_has_is_refused_before_a_device_is_asked(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        load_recipe(text)


def test_an_address_of_a_hub_that_the_kind_of_work_can_measure_is_accepted() -> None:
    assert load_recipe("on: [cpu.onnx]\nmodel: hf://org/repo@v1/onnx/model.onnx").model is not None
    assert load_recipe(f"{LANGUAGE}models: [hf://org/repo, {{model: hf://org/repo@refs/pr/3}}]").models is not None
