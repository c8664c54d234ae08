from __future__ import annotations

import json

import pytest

from shared.errors import InvalidInput
from shared.json_text import MOST_SEARCHED_BYTES, RepeatedKey, read_json_text
from shared.recipes import load_recipe


@pytest.mark.parametrize("text", ['{"a": 1, "b": {}, "a": 1}', '[{"x": {"a": [], "a": 2}}]', '{"a": 1, "\\u0061": 2}'])
def test_an_object_with_the_same_key_twice_is_refused(text: str) -> None:
    with pytest.raises(RepeatedKey, match="the key 'a' twice"):
        read_json_text(text)


def test_the_same_key_in_two_objects_is_no_repetition() -> None:
    assert read_json_text(b'[{"a": {"a": 1}}, {"a": 2}]') == [{"a": {"a": 1}}, {"a": 2}]


def test_a_text_that_only_a_program_writes_is_read_without_the_search() -> None:
    content = {"rows": list(range(MOST_SEARCHED_BYTES // 4))}
    assert read_json_text(json.dumps(content)) == content


@pytest.mark.parametrize(
    "text",
    [
        "model: a.onnx\non: [cpu.onnx]\noptions: {dims: {sequence: 128}}\noptions: {threads: 1}\n",
        '{"model": "a.onnx", "on": ["cpu.onnx"], "repeats": 6, "repeats": 1}',
        '{"model": "a.onnx", "on": ["cpu.onnx"], "name": "\\ud83d\\ude80", "repeats": 6, "repeats": 1}',
    ],
)
def test_a_recipe_that_says_something_twice_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"the key '(options|repeats)'.*keep one of the two"):
        load_recipe(text)
