"""Tests that options of inputs are limited and strict, and are unchanged after storage in the database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from shared.engine_options import MAX_ELEMENTS, EngineOptions

VALUES: dict[str, Any] = {
    "flag": True,
    "k": 1,
    "x": 1.0,
    "least": -(2**63),
    "most": 2**64 - 1,
    "city": "Paris",
    "ids": [0, 30521],
    "floats": [0.5, 1],
    "flags": [True, False],
    "words": ["a", "b"],
    "exact": {"array": [[1, 2], [3, 4]]},
    "nothing": {"array": []},
    "mask": "mask.npz",
}


@pytest.mark.parametrize("strict", [True, False], ids=["as a recipe", "as a stored job"])
def test_values_keep_their_types_on_every_way(strict: bool) -> None:
    given = EngineOptions.model_validate_json(json.dumps({"values": VALUES}), strict=strict)
    again = EngineOptions.model_validate(given.model_dump(mode="json"), strict=False)
    for options in (given, again):
        assert json.dumps(options.model_dump(mode="json")["values"]) == json.dumps(VALUES)


@pytest.mark.parametrize(
    "values",
    [
        {"x": None},
        {"x": []},
        {"x": {}},
        {"x": {"array": [1], "more": 2}},
        {"x": {"array": {"a": 1}}},
        {"x": {"array": [None]}},
        {"x": [[1, 2]]},
        {"x": 10**400},
        {"x": {"array": [10**400]}},
        {"x": {"array": ["a" * 5000]}},
        {"x": [1] * 1001},
        {"x": "a" * 5000},
        {"x": {"array": [[[[[[[[[1]]]]]]]]]}},
        {"x": {"array": [0] * (MAX_ELEMENTS + 1)}},
        {f"x{number}": 1 for number in range(1001)},
    ],
)
def test_values_of_another_shape_or_without_end_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EngineOptions.model_validate_json(json.dumps({"values": values}))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    for value in (text, f"[{text}, 1.0]", f'{{"array": [{text}]}}'):
        with pytest.raises(ValidationError):
            EngineOptions.model_validate_json(f'{{"values": {{"x": {value}}}}}')


@pytest.mark.parametrize("dims", [{"n": -1}, {"n": 2**31}, {"n": "8"}, {"n": 1.0}, {"n": True}, {"n": None}])
def test_sizes_are_whole_numbers_from_nought(dims: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EngineOptions.model_validate_json(json.dumps({"dims": dims}))


def test_a_size_of_nought_is_a_size() -> None:
    assert EngineOptions.model_validate_json('{"dims": {"past": 0}}').dims == {"past": 0}
