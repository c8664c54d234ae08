"""Reads the terms of a comparison: how much worse is too much, how sure the answer must be, and what may differ."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.verdicts.facts import must_be_equal
from orchestrator.verdicts.figures import FIGURES, INFERENCE, Metric
from shared.errors import FieldError, InvalidInput, nearest

MAX_REGRESSION = "5%"
LEVEL = 0.05
LEAST_LEVEL, MOST_LEVEL = 0.001, 0.2
# A share is 0% to 100%, or a fraction below 1. More than 100 % is always a mistake in the unit (5 for 5 %): a model that takes twice as
# long would pass. `1` without a unit is refused too, because a user who means 1 % would accept a model that takes twice as long.
SHARE = re.compile(r"(100(\.0{1,6})?|[0-9]{1,2}(\.[0-9]{1,6})?)%|0(\.[0-9]{1,6})?")
_ONE = re.compile(r"1(\.0*)?")


@dataclass(frozen=True, slots=True)
class Terms:
    """Holds the terms of a comparison.

    Attributes:
        max_regression: how much worse is still accepted, as a fraction of the baseline.
        level: the probability of an error that is accepted, such as 0.05.
        allowed: the names of facts that may differ.
    """

    figure: Metric = FIGURES[INFERENCE]
    max_regression: float = 0.05
    level: float = LEVEL
    allowed: frozenset[str] = frozenset()


def share_of(text: str, name: str = "max_regression") -> float:
    """Return a share that is written as `5%` or `0.05`.

    Raises:
        InvalidInput: it is neither, or not between 0 and 100 %. `name` is the parameter that the message names.
    """
    if SHARE.fullmatch(text) is None:
        message = f"{text!r:.80} is no share from 0 to 100 %; write 5% or 0.05"
        if _ONE.fullmatch(text):
            message = f"{text!r:.80} may mean 1 % or 100 %; write 1% or 100%"
        raise InvalidInput(f"{name}: {message}", fields=[FieldError(f"query.{name}", message)])
    return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)


def allowed_facts(names: list[str]) -> frozenset[str]:
    """Return the facts that may differ. Each of `names` is a fact, or several with commas between them.

    Raises:
        InvalidInput: one of them is no fact that must be equal.
    """
    known = must_be_equal()
    found = [name.strip() for part in names for name in part.split(",") if name.strip()]
    for name in found:
        if name not in known:
            message = f"{name!r:.80} is no fact that must be equal: {nearest(name, known)}"
            raise InvalidInput(f"allow: {message}", fields=[FieldError("query.allow", message)])
    return frozenset(found)
