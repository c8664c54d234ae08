from __future__ import annotations

import json
import math
from typing import Any

import pytest

from shared.storable import LARGEST, storable, storable_text, unstorable_at, without_nul

BAD: list[tuple[Any, Any]] = [
    (math.nan, None),
    (math.inf, None),
    (-math.inf, None),
    (10**400, None),
    (-(10**400), None),
    ("a\0b", "a\ufffdb"),
    ("na\udce9ve", "na?ve"),
    ("\ud83d", "?"),
]
GOOD: list[Any] = [None, True, False, 0, -1.5, LARGEST, 1e308, "", "naïve 😀", [], {}, {"a": [1, {"b": "c"}]}]


@pytest.mark.parametrize(("bad", "instead"), BAD)
def test_what_cannot_be_stored_is_replaced_wherever_it_lies(bad: Any, instead: Any) -> None:
    assert storable({"a": [1, (bad, "x")]}) == {"a": [1, [instead, "x"]]}
    assert storable(storable({"a": bad})) == storable({"a": bad})
    json.dumps(storable({"a": bad}), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("good", GOOD)
def test_what_can_be_stored_stays_as_it_is(good: Any) -> None:
    assert storable(good) == good
    assert type(storable(good)) is type(good)
    assert unstorable_at(good) is None


@pytest.mark.parametrize("bad", [bad for bad, _ in BAD])
def test_the_way_to_what_cannot_be_stored_is_named(bad: Any) -> None:
    assert unstorable_at({"a": [1, {"b": bad}]}) == ["a", "1", "b"]
    assert unstorable_at(bad) == []


def test_names_of_members_are_texts_too() -> None:
    assert storable({"a\0": 1}) == {"a\ufffd": 1}
    assert unstorable_at({"x": {"a\0": 1}}) == ["x", "a\0"]


def test_nul_alone_can_be_replaced() -> None:
    assert without_nul({"a\0": ["b\0", "\ud83d", 10**400]}) == {"a\ufffd": ["b\ufffd", "\ud83d", 10**400]}
    assert storable_text("b\0") == "b\ufffd"
