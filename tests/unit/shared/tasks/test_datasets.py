"""Tests that a data set is read line by line, and that every mistake names its line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from shared.tasks.base import Document
from shared.tasks.datasets import MAX_DOCUMENT, documents_of, read_dataset


def lines(*objects: object) -> bytes:
    return "\n".join(json.dumps(one) for one in objects).encode()


def test_a_data_set_is_read_with_its_references_and_what_is_left_out_has_a_default() -> None:
    content = b"\xef\xbb\xbf" + lines(
        {"id": "a", "document": "one", "summary": "1"},
        {"id": 7, "document": "two", "references": ["2", "zwei"], "question": "which?"},
        {"document": "three"},
    )
    assert list(documents_of(content + b"\r\n\n")) == [
        Document("a", "one", ("1",)),
        Document("7", "two", ("2", "zwei"), "which?"),
        Document("3", "three"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it has no document: each line is one, such as"),
        (lines({"document": "x"}) + b"\n{broken", "line 2 is not JSON"),
        (lines({"document": "x"}) + b'\n\n{"document": "\xff"}', "line 3 is not text in UTF-8"),
        (lines(["x"]), "line 1 is list, not an object"),
        (lines({"text": "x"}), "line 1 has the key 'text', which means nothing here; a document has id, document, question"),
        (lines({"id": "a"}), "line 1 has no 'document'"),
        (lines({"document": 5}), "line 1 has a 'document' that is int, not a text"),
        (lines({"document": " \n"}), "line 1 has an empty document: leave the line out"),
        (lines({"document": "x" * (10 * 2**20)}), f"line 1 has a document of 10485760 characters, and at most {MAX_DOCUMENT} are allowed"),
        (lines({"id": "a", "document": "x"}, {"id": "a", "document": "y"}), "line 2 has the id 'a', which line 1 has already"),
        (lines({"id": "2", "document": "x"}, {"document": "y"}), "line 2 has the id '2', which line 1 has already"),
        (lines({"id": "", "document": "x"}), "line 1 has the id ''"),
        (lines({"document": "x", "summary": "a", "reference": "b"}), "line 1 has summary and reference: write one of them"),
        (lines({"document": "x", "references": "a"}), "line 1 has `references` that is not a list of texts"),
        (b'{"document": "half \\ud83d"}', "half of a character"),
    ],
    ids=lambda one: one[:40] if isinstance(one, str) else "",
)
def test_a_line_that_is_no_document_is_named(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        list(documents_of(content))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.jsonl").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(ValueError, match="it has 67108865 bytes, and a data set has at most 67108864: split it"):
        read_dataset(tmp_path / "huge.jsonl")
