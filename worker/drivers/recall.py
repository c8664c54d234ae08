"""Compares the answers of a vector database with an exact search: recall at k.

A returned vector counts if it is at most as far from the query as the k-th nearest one of the exact search, to within a rounding error.
So it does not matter which of several equally near vectors a server returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.drivers.vectors import Population

ROWS_AT_ONCE = 8_192
TOLERANCE = 1e-5  # of distances: servers calculate with 32-bit floats
METRICS = ("cosine", "l2", "ip")


def distances(queries: NDArray[np.float64], rows: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Return how far each row is from each query. Less is nearer.

    With `cosine` it is 1 - cosine of the angle, with `l2` the square of the Euclidean distance, with `ip` 1 - the inner product.
    """
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    inner: NDArray[np.float64] = queries @ rows.T
    if metric == "l2":
        squares: NDArray[np.float64] = (queries**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1)[None, :] - 2 * inner
        return squares
    found: NDArray[np.float64] = 1 - inner
    return found


def hits(queries: NDArray[np.float64], answers: Mapping[int, Sequence[int]], population: Population, size: int, metric: str, k: int) -> int:
    """Return how many of the returned vectors are among the `k` nearest of the exact search, of all answers together.

    Args:
        answers: The numbers of the returned rows, by the place of the query in `queries`. A number that is returned twice counts once.
        size: How many rows the population has.
    """
    asked = sorted(answers)
    if not asked:
        return 0
    chosen = queries[asked]
    nearest = np.full((len(asked), k), np.inf)
    far = [dict.fromkeys((row for row in answers[place][:k] if 0 <= row < size), np.inf) for place in asked]
    for begin in range(0, size, ROWS_AT_ONCE):
        end = min(begin + ROWS_AT_ONCE, size)
        found = distances(chosen, population.rows(begin, end), metric)
        for place, known in enumerate(far):
            for row in known:
                if begin <= row < end:
                    known[row] = found[place, row - begin]
        both = np.concatenate([nearest, found], axis=1)
        nearest = np.partition(both, k - 1, axis=1)[:, :k]
    limit = nearest.max(axis=1)
    slack = TOLERANCE * np.maximum(1.0, np.abs(limit))
    return sum(bool(distance <= limit[place] + slack[place]) for place, known in enumerate(far) for distance in known.values())
