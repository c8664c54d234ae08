"""Decides in which order the jobs of a block are measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

from shared.ids import AttemptKey


class HasKey(Protocol):
    @property
    def key(self) -> AttemptKey: ...


Of = TypeVar("Of", bound=HasKey)


def order_of(attempts: Sequence[Of], round_number: int) -> list[Of]:
    """Return the attempts in the random order of a round. Rounds are counted from 1.

    The place of a job follows from its id, which contains the id of its campaign, and from the number of the round. So the order can be
    computed again, another round and another campaign have other orders, and the others keep their order when one job leaves.
    """

    def place(attempt: Of) -> bytes:
        return hashlib.sha256(f"{attempt.key[0]} round {round_number}".encode()).digest()

    return sorted(attempts, key=place)
