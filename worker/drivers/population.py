"""Draws what requests ask for, by seed, from a stated population."""

from __future__ import annotations

from array import array
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import Random

from shared.errors import ModelInvalid

ZIPF_EXPONENT = 0.99  # as YCSB has it
DISTRIBUTIONS = ("uniform", "zipf")


def mix_of(text: str, operations: Sequence[str]) -> tuple[int, ...]:
    """Return the share of each operation, from `get:set=50:50`.

    Raises:
        ModelInvalid: The text names another operation, or has no share for one.
    """
    names, _, shares = text.partition("=")
    told = dict(zip(names.strip().split(":"), shares.strip().split(":"), strict=False))
    if not set(told) <= set(operations) or len(told) != len(names.split(":")) or len(told) != len(shares.split(":")):
        example = f"{':'.join(operations)}={':'.join('50' for _ in operations)}"
        raise ModelInvalid(f"client.settings.operation_mix is {text!r:.100}; write it as {example!r}")
    try:
        found = tuple(int(told.get(name, "0")) for name in operations)
    except ValueError as error:
        raise ModelInvalid(f"client.settings.operation_mix is {text!r:.100}, and its shares are whole numbers") from error
    if min(found) < 0 or sum(found) == 0:
        raise ModelInvalid(f"client.settings.operation_mix is {text!r:.100}; shares are 0 or more, and one of them is above 0")
    return found


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
