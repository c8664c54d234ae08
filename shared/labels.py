"""Defines the labels that people give to campaigns and workers: short names with short values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

MOST_LABELS = 64
LONGEST_NAME = 200
LONGEST_VALUE = 500  # characters; a list of 100 campaigns shows all of their labels

PRICE_LABEL = "price_per_hour"  # what an hour of the worker's device costs, in any one currency
_NUMBER = re.compile(r"\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

LabelName = Annotated[str, Field(max_length=LONGEST_NAME)]
LabelValue = Annotated[str, Field(max_length=LONGEST_VALUE)]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=MOST_LABELS)]


def price_in(labels: Mapping[str, str]) -> float | None:
    """Return the price of an hour that the labels of a worker name, or None if they name none, or something that is no price."""
    return price_of_text(labels.get(PRICE_LABEL, ""))


def price_of_text(text: str) -> float | None:
    """Return the price that a text is, or None if it is none. What only Python takes for a number, such as `1_50`, is none."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    return price if math.isfinite(price := float(text)) else None


def why_no_price(labels: Mapping[str, str]) -> str:
    """Return why the label with the price is none, or an empty text if it is one, or if there is no such label."""
    if PRICE_LABEL not in labels or price_in(labels) is not None:
        return ""
    return f"the label {PRICE_LABEL} is {labels[PRICE_LABEL]!r:.60}, which is no price: write a number of 0 or more, such as 1.50"


def with_a_price(labels: dict[str, str]) -> dict[str, str]:
    """Return the labels of a worker if their price is one.

    Raises:
        ValueError: It is none.
    """
    if why := why_no_price(labels):
        raise ValueError(why)
    return labels


WorkerLabels = Annotated[Labels, AfterValidator(with_a_price)]
