"""Pairs the jobs of two campaigns. Each job of one is paired with at most one job of the other.

Jobs of the same work with the same options on the same device come first. What is left is paired by what was asked for, so that a failed
job or a changed model still meets its counterpart, and the verdict can say what differs. Jobs that are alike are paired in the order of
their numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from orchestrator.verdicts.sides import Side

Key = Callable[[Side], Hashable | None]


@dataclass(frozen=True, slots=True)
class Pair:
    """Holds two jobs that answer the same question. A side is None if the campaign has no such job."""

    baseline: Side | None
    current: Side | None


def pair_up(baseline: Sequence[Side], current: Sequence[Side], *, other_models: bool = False) -> list[Pair]:
    """Return every job of both campaigns in exactly one pair, in the order of the baseline. Jobs of `current` alone come last.

    Args:
        other_models: True to pair also models with different names, where only one job on each side is left for it.
    """
    partners: dict[str, Side] = {}
    left, right = list(baseline), list(current)
    rounds = [one for key in _ROUNDS for one in (_as_long(key), key)]
    for key in (*rounds, *(_OTHER_MODELS if other_models else ())):
        mine, theirs = _by(key, left), _by(key, right)
        for value, sides in mine.items():
            if key in _OTHER_MODELS and (len(sides) > 1 or len(theirs[value]) > 1):
                continue  # nothing says which model replaced which
            partners |= {side.job_id: other for side, other in zip(sides, theirs[value], strict=False)}
        taken = {side.job_id for side in partners.values()}
        left = [side for side in left if side.job_id not in partners]
        right = [side for side in right if side.job_id not in taken]
    return [Pair(side, partners.get(side.job_id)) for side in baseline] + [Pair(None, side) for side in right]


def _by(key: Key, sides: Sequence[Side]) -> defaultdict[Hashable, list[Side]]:
    found: defaultdict[Hashable, list[Side]] = defaultdict(list)
    for side in sides:
        if (value := key(side)) is not None:
            found[value].append(side)
    return found


def _measured(facts: Callable[[Side], tuple[str | None, ...]]) -> Key:
    """Return a key of the same work and of these facts. A job whose content is not known has none."""

    def key(side: Side) -> Hashable | None:
        if not side.work.may_be_ranked():
            return None
        _, _, options = side.asked
        return (side.work, side.unit, options, *facts(side))

    return key


def _as_long(inner: Key) -> Key:
    """Return a key that also holds how long a job measured, such as the number of inferences, which a recipe may sweep."""

    def key(side: Side) -> Hashable | None:
        value = inner(side)
        return None if value is None else (value, *side.length)

    return key


_ROUNDS: tuple[Key, ...] = (
    _measured(lambda side: (*side.answers, side.facts["device"])),
    _measured(lambda side: (side.facts["device"],)),
    lambda side: (side.asked, side.device_id),
    _measured(lambda _side: ()),
    lambda side: side.asked,
)
# This key does not contain the model's name.
_OTHER_MODELS: tuple[Key, ...] = (lambda side: (side.asked[1:], side.device_id), lambda side: side.asked[1:])
