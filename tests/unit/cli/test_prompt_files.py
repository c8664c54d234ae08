"""Tests that the prompts of a data set beside a recipe become a part of the recipe, and what is said of a file that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.prompt_files import with_prompts
from cli.submission import read_recipe
from shared.errors import InvalidInput

RECIPE = """
service: {type: openai, address: "http://127.0.0.1:8000/v1"}
client: {type: openai_stress, settings: {prompts_file: data/q.jsonl, prompts_field: question, max_tokens: 5}}
"""


def body(folder: Path) -> dict[str, Any]:
    (folder / "recipe.yaml").write_text(RECIPE)
    return read_recipe(folder / "recipe.yaml").model_dump(mode="json", exclude_unset=True)


def test_the_prompts_of_the_file_stand_in_the_recipe_that_is_submitted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "q.jsonl").write_text('{"question": "Why?", "id": 1}\n\n"Whät?"\n', encoding="utf-8")
    assert with_prompts(body(tmp_path), tmp_path)["client"]["settings"] == {"max_tokens": 5, "prompts": ["Why?", "Whät?"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"question": "Why?"}\n{broken', r"q\.jsonl, line 2 is no JSON: \{broken"),
        ('{"prompt": "Why?"}', r"line 1 has no text as `question`; the object has the keys prompt\. Write `prompts_field`"),
        ('{"question": ""}', "line 1 has no text"),
        ("7", "line 1 has no text"),
        ("\n", "holds no prompts"),
        ('"x"\n' * 1_001, "holds 1001 prompts; at most 1000"),
        (None, "cannot be read: No such file or directory; a path counts from the folder of the recipe"),
    ],
)
def test_a_file_that_is_no_data_set_is_refused_with_its_line(content: str | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    if content is not None:
        (tmp_path / "data" / "q.jsonl").write_text(content)
    with pytest.raises(InvalidInput, match=said):
        with_prompts(body(tmp_path), tmp_path)


def test_a_recipe_without_such_a_file_is_submitted_as_it_is(tmp_path: Path) -> None:
    for one in ({}, {"client": "redis"}, {"client": {"settings": {"prompts": ["a"]}}}):
        assert with_prompts(dict(one), tmp_path) == one


def test_a_mark_at_the_start_and_a_line_separator_in_a_text_do_not_break_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "q.jsonl").write_bytes('\ufeff{"question": "one\u2028two"}\r\n"three\x85four"\r\n'.encode())
    assert with_prompts(body(tmp_path), tmp_path)["client"]["settings"]["prompts"] == ["one\u2028two", "three\x85four"]
