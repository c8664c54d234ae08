"""Tests files of values with everything that numpy can save. Values that do not fit an input are refused, and nothing is lost silently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.errors import ModelInvalid
from worker.engines.inputs.types import convert

RECORDS = np.zeros(2, dtype=[("a", np.float32), ("b", np.int32)])
DATES = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]")


@pytest.mark.parametrize("kind", ["float", "double", "float16", "bfloat16", "int64", "uint8", "bool", "complex64", "float8e5m2"])
@pytest.mark.parametrize("values", [RECORDS, DATES, DATES - DATES[0], np.zeros(2, dtype="V2"), np.array([{}, None], dtype=object)])
def test_what_is_no_number_is_refused_for_every_type(values: np.ndarray, kind: str) -> None:
    with pytest.raises(ModelInvalid, match=rf"options\.values\.x has .* input is of type {kind}: save them as plain numbers"):
        convert(values, kind, "options.values.x")


@pytest.mark.parametrize("kind", ["float", "bfloat16", "int64", "bool"])
def test_complex_numbers_are_refused_where_half_of_them_would_be_dropped(kind: str) -> None:
    with pytest.raises(ModelInvalid, match=f"has complex numbers, but the input is of type {kind}"):
        convert(np.array([1 + 2j]), kind, "options.values.x")
    assert convert(np.array([1 + 2j]), "complex64", "options.values.x").tolist() == [1 + 2j]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([1e5]), "float16"),
        (np.array([1e300, 0]), "float"),
        (np.array([1e300]), "bfloat16"),
        (np.array([1e300 + 0j]), "complex64"),
        (np.array([70_000], dtype=object), "float16"),
    ],
)
def test_a_number_that_would_become_infinite_is_refused(values: np.ndarray, kind: str) -> None:
    with pytest.raises(ModelInvalid, match=f"but the input is of type {kind}, whose largest number is "):
        convert(values, kind, "options.values.x")


@pytest.mark.parametrize(
    ("values", "kind", "right"),
    [
        (np.array([0.5, np.inf]), "float", [0.5, np.inf]),
        (np.array([1, True, 2.5], dtype=object), "float16", [1.0, 1.0, 2.5]),
        (np.array([True, False]), "int64", [1, 0]),
        (np.array([2**40], dtype=np.uint64), "int64", [2**40]),
        (np.array([0x3F80], dtype=np.uint16), "bfloat16", [0x3F80]),
        (np.array([1.0]), "bfloat16", [0x3F80]),
        (np.array([1, 2.5], dtype=object), "complex128", [1 + 0j, 2.5 + 0j]),
    ],
)
def test_numbers_of_every_kind_are_taken(values: np.ndarray, kind: str, right: list[Any]) -> None:
    assert convert(values, kind, "options.values.x").tolist() == right
