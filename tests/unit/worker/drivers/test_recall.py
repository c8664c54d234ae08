"""Tests the drawn vectors and the recall against a search that was written without the code under test."""

from __future__ import annotations

import math

import numpy as np
import pytest

from worker.drivers.recall import distances, hits
from worker.drivers.vectors import BLOCK, Population


def distance(first: list[float], second: list[float], metric: str) -> float:
    inner = math.fsum(one * other for one, other in zip(first, second, strict=True))
    if metric == "l2":
        return math.fsum((one - other) ** 2 for one, other in zip(first, second, strict=True))
    if metric == "cosine":
        return 1 - inner / math.hypot(*first) / math.hypot(*second)
    return 1 - inner


def exact(population: Population, queries: list[list[float]], size: int, metric: str) -> list[list[int]]:
    """Return all rows by their distance, for each query."""
    rows = population.rows(0, size).tolist()
    return [sorted(range(size), key=lambda place: distance(query, rows[place], metric)) for query in queries]


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("distribution", ["normal", "clustered"])
def test_the_exact_answers_have_a_recall_of_1_and_each_wrong_one_costs_its_share(metric: str, distribution: str) -> None:
    population, size, k = Population(7, distribution), 300, 5
    queries = population.queries("7", 6)
    ranked = exact(population, queries.tolist(), size, metric)
    assert hits(queries, {place: order[:k] for place, order in enumerate(ranked)}, population, size, metric, k) == 6 * k
    worse = {place: order[place : place + k] for place, order in enumerate(ranked)}  # it leaves out 0, 1, … of the nearest
    assert hits(queries, worse, population, size, metric, k) == 5 + 4 + 3 + 2 + 1 + 0


def test_what_is_returned_twice_or_does_not_exist_counts_once_or_not_at_all() -> None:
    population, size = Population(7, "normal"), 300
    queries = population.queries("7", 1)
    ((first, second, *_),) = exact(population, queries.tolist(), size, "l2")
    assert hits(queries, {0: [first, first, first]}, population, size, "l2", 3) == 1
    assert hits(queries, {0: [first, -1, size]}, population, size, "l2", 3) == 1
    assert hits(queries, {0: [second]}, population, size, "l2", 1) == 0
    assert hits(queries, {0: []}, population, size, "l2", 1) == 0
    assert hits(queries, {}, population, size, "l2", 1) == 0


def test_more_rows_than_are_looked_at_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    population, size, k = Population(7, "normal"), 300, 5
    queries = population.queries("7", 6)
    ranked = exact(population, queries.tolist(), size, "cosine")
    monkeypatch.setattr("worker.drivers.recall.ROWS_AT_ONCE", 77)
    worse = {place: order[place : place + k] for place, order in enumerate(ranked)}
    assert hits(queries, worse, population, size, "cosine", k) == 15


def test_vectors_that_are_equally_near_are_equally_right() -> None:
    class Twins(Population):
        def rows(self, begin: int, end: int):  # type: ignore[no-untyped-def]
            return np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[begin:end]

    twins = Twins(2, "normal")
    assert hits(np.array([[1.0, 0.1]]), {0: [0]}, twins, 3, "l2", 1) == 1
    assert hits(np.array([[1.0, 0.1]]), {0: [1]}, twins, 3, "l2", 1) == 1
    assert hits(np.array([[1.0, 0.1]]), {0: [2]}, twins, 3, "l2", 1) == 0


@pytest.mark.parametrize("distribution", ["normal", "clustered"])
def test_rows_are_the_same_whoever_draws_them_and_queries_are_other_ones(distribution: str) -> None:
    population = Population(3, distribution, 5)
    whole = Population(3, distribution, 5).rows(0, 3 * BLOCK)
    assert np.array_equal(population.rows(BLOCK - 10, 2 * BLOCK + 10), whole[BLOCK - 10 : 2 * BLOCK + 10])
    assert population.rows(5, 5).shape == (0, 3)
    assert not np.array_equal(Population(3, distribution, 6).rows(0, 9), whole[:9])
    assert not np.array_equal(population.queries("a", 9), population.queries("b", 9))
    assert not (distances(population.queries("a", 50), whole, "l2") == 0).any()


def test_the_distributions_are_what_they_are_called() -> None:
    normal = Population(16, "normal").rows(0, 8 * BLOCK)
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    clustered = Population(16, "clustered")
    nearest = distances(clustered.queries("a", 200), clustered.rows(0, 4_000), "l2").min(axis=1).mean()
    apart = distances(Population(16, "normal").queries("a", 200), normal[:4_000], "l2").min(axis=1).mean()
    assert nearest < apart / 2, "a query has neighbours in its cluster"
