"""Draws vectors by seed from a stated distribution: the population of a vector database, and what it is asked for.

Row n of a population is the same for every process, repeat and machine. Numbers have five digits after the point, so that the text that is
sent, the server's 32-bit floats and the exact search all mean the same vector.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 1_024  # rows that are drawn together
DIGITS = 5
CLUSTERS = 100
SPREAD = 0.3  # the standard deviation of a vector around the centre of its cluster; the centres have one of 1
DISTRIBUTIONS = ("clustered", "normal")


@dataclass(frozen=True)
class Population:
    """Describes a population.

    Attributes:
        distribution: `normal`: every number is drawn from the standard normal distribution. `clustered`: each vector belongs to one of
            `CLUSTERS` centres, which are drawn like that, and is spread around it. That is nearer to embeddings of texts and images.
    """

    dim: int
    distribution: str
    seed: int = 0

    def rows(self, begin: int, end: int) -> NDArray[np.float64]:
        """Return the vectors `begin` to `end` - 1."""
        first = begin // BLOCK
        blocks = [self._drawn(self._generator("rows", number), BLOCK) for number in range(first, -(-end // BLOCK))]
        whole = np.concatenate(blocks) if blocks else np.zeros((0, self.dim))
        return whole[begin - first * BLOCK : end - first * BLOCK]

    def queries(self, seed: str, count: int) -> NDArray[np.float64]:
        """Return vectors of the same distribution that are no rows. Another seed gives other ones."""
        return self._drawn(self._generator(f"queries/{seed}"), count)

    def _drawn(self, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
        if self.distribution == "normal":
            return np.round(generator.standard_normal((count, self.dim)), DIGITS)
        centres = self._generator("centres").standard_normal((CLUSTERS, self.dim))
        around = generator.standard_normal((count, self.dim)) * SPREAD
        return np.round(centres[generator.integers(CLUSTERS, size=count)] + around, DIGITS)

    def _generator(self, what: str, number: int = 0) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, self.dim, zlib.crc32(what.encode()), number]))
