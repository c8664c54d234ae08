"""Tests that data sets on this machine are found and read before they are uploaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.datasets import fetched_datasets, find_datasets, with_uploads
from shared.errors import InvalidInput
from shared.recipes import Recipe, parse_recipe

LINE = b'{"document": "x", "summary": "y"}\n'


def recipe(**more: object) -> Recipe:
    return parse_recipe({"model": "a", "on": ["cpu.torch"], "task": "summarization", **more})


def test_a_path_counts_from_the_folder_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "my.jsonl").write_bytes(LINE)
    assert find_datasets(recipe(dataset="data/my.jsonl"), tmp_path) == {"data/my.jsonl": tmp_path / "data" / "my.jsonl"}


def test_what_needs_no_file_has_none(tmp_path: Path) -> None:
    assert find_datasets(recipe(), tmp_path) == {}
    assert find_datasets(recipe(dataset="aclsum"), tmp_path) == {}
    assert find_datasets(recipe(dataset=f"sha256:{'0' * 64}"), tmp_path) == {}
    assert find_datasets(parse_recipe({"model": "a", "on": ["cpu.onnx"]}), tmp_path) == {}


def test_an_address_is_left_to_the_worker(tmp_path: Path) -> None:
    page = "https://en.wikipedia.org/wiki/Redis"
    swept = recipe(sweep={"dataset": ["samples", page]})
    assert (find_datasets(swept, tmp_path), fetched_datasets(swept)) == ({}, [page])
    assert fetched_datasets(recipe()) == fetched_datasets(parse_recipe({"model": "a", "on": ["cpu.onnx"]})) == []


def test_a_mistake_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_bytes(LINE + b"no json\n")
    for name, said in (
        ("broken.jsonl", "dataset 'broken.jsonl': line 2 is not JSON"),
        ("gone.jsonl", "there is no such file"),
    ):
        with pytest.raises(InvalidInput, match=said) as refusal:
            find_datasets(recipe(dataset=name), tmp_path)
        assert refusal.value.fields[0].path == "dataset"


def test_swept_data_sets_are_uploaded_too(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(LINE)
    swept = recipe(sweep={"dataset": ["a.jsonl", "samples", "b.jsonl"]})
    assert list(find_datasets(swept, tmp_path)) == ["a.jsonl", "b.jsonl"]
    body = swept.model_dump(mode="json", exclude_unset=True)
    with_uploads(body, {"a.jsonl": "sha256:1", "b.jsonl": "sha256:2"})
    assert body["sweep"] == {"dataset": ["sha256:1", "samples", "sha256:2"]}
