"""Draws what requests ask for, by seed, from a stated population."""

from __future__ import annotations

from array import array
from bisect import bisect
from itertools import accumulate
from random import Random

from shared.errors import ModelInvalid

ZIPF_EXPONENT = 0.99  # as YCSB has it
DISTRIBUTIONS = ("uniform", "zipf")


def ranks(draw: Random, distribution: str, population: int, count: int) -> array[int]:
    """Return `count` draws from the numbers 0 to `population` - 1.

    With `zipf`, rank k has a weight of 1 / (k + 1)^0.99.

    Raises:
        ModelInvalid: The distribution is not known.
    """
    if distribution == "uniform":
        return array("q", (draw.randrange(population) for _ in range(count)))
    if distribution == "zipf":
        sums = list(accumulate(1 / (rank + 1) ** ZIPF_EXPONENT for rank in range(population)))
        return array("q", (min(bisect(sums, draw.random() * sums[-1]), population - 1) for _ in range(count)))
    raise ModelInvalid(f"client.settings.key_distribution is {distribution!r:.100}; known: {', '.join(DISTRIBUTIONS)}")
