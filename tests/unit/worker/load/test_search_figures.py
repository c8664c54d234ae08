"""Tests the figures of a comparison with an exact search against values that were worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from worker.load.search_figures import said_of, search_figures
from worker.load.units import facts_of_requests, units_of


def found(right: int, asked: int, wait_s: float | None = 0.5, vectors: int = 100, unreadable: int = 0) -> dict[str, Any]:
    index = {} if wait_s is None else {"vectors": vectors, "wait_s": wait_s, "said": "green"}
    return {"right": right, "asked": asked, "queries": asked // 10, "unreadable": unreadable, "index": index}


def test_the_recall_of_a_repeat_is_that_of_all_its_answers_and_the_longest_wait_counts() -> None:
    repeats = [{"0": found(100, 100), "1": found(10, 50, wait_s=0.7)}, {"0": found(90, 100, wait_s=0.2)}]
    assert search_figures(repeats, 100) == {"index_wait_s": ([0.7, 0.2], ""), "recall_at_k": ([110 / 150, 0.9], "")}
    assert said_of(repeats)["queries_compared"] == 25
    assert len(said_of(repeats)["index"]) == 3


@pytest.mark.parametrize(
    ("repeat", "reason"),
    [
        ({"0": found(10, 10), "1": found(0, 0, unreadable=3)}, "3 answers to queries could not be read"),
        ({"0": found(0, 0)}, "no query was answered"),
        ({"0": found(9, 10, vectors=97)}, "the collection has 97 of 100 vectors"),
        ({}, "the work ended before the answers were compared"),
    ],
)
def test_a_comparison_that_is_not_a_fair_one_gives_no_recall_and_says_why(repeat: dict[str, Any], reason: str) -> None:
    values, missing = search_figures([{"0": found(10, 10)}, repeat], 100)["recall_at_k"]
    assert values == []
    assert reason in missing


def test_a_load_without_queries_has_no_wait() -> None:
    assert search_figures([{"0": found(0, 0, wait_s=None)}], 100)["index_wait_s"] == ([], "no query was sent after the inserts")


def test_an_insert_stands_for_as_many_vectors_as_it_has_on_average() -> None:
    assert units_of("chroma", {"num_vectors": 1_000, "batch_size": 100}) == {"insert_vps": 100}
    assert units_of("qdrant", {"num_points": 1_000, "batch_size": 300}) == {"insert_vps": 250}
    assert units_of("redis", {}) == {}
    assert facts_of_requests("qdrant", {"num_points": 10, "batch_size": 4, "dim": 8}) == {
        "insert": {"num_vectors": 10 / 3, "dimension": 8},
        "query": {"num_vectors": 1, "dimension": 8},
    }
    assert facts_of_requests("minio", {"object_size_bytes": 5}) == {}
