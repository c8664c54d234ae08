"""Tests that dimensions given as expressions are evaluated by rules of our own. Nothing in them is ever run as code."""

from __future__ import annotations

import pytest

from worker.engines.inputs.expressions import MAX_LENGTH, parse

SIZES = {"past": 3, "seq": 5, "h": 7, "past_sequence_length": 3, "sequence_length": 5, "input.1": 2}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("past_sequence_length + sequence_length", 8),
        ("past_sequence_length+sequence_length", 8),
        ("  past+1 ", 4),
        ("2*seq", 10),
        ("seq - past - 1", 1),
        ("past + seq * 2", 13),
        ("(past + seq) * 2", 16),
        ("h/2", 3),
        ("(h + 1)//4", 2),
        ("input.1 + 1", 3),
        ("h - (seq - past)", 5),
        ("12", 12),
    ],
)
def test_a_calculation_has_the_value_that_arithmetic_gives_it(text: str, size: int) -> None:
    expression = parse(text)
    assert expression is not None
    assert expression.value(SIZES) == size


def test_it_names_each_symbol_once_in_its_order() -> None:
    expression = parse("past + seq * past - 4")
    assert expression is not None
    assert expression.names == ("past", "seq")


@pytest.mark.parametrize(
    "text",
    [
        *("batch", "unk__12", "input.1_dim_0", "?", "", "a b", "a +", "+ a", "a + + b", "(a", "a)", "()", "a ** b", "a % b", "2a"),
        *(
            "__import__('os').system('x')",
            "floor(h / 2)",
            "a if b else c",
            "a[0]",
            "a, b",
            "batch:8",
            "größe + 1",
            "a" * MAX_LENGTH + " + b",
        ),
        "(" * 250 + "a" + ")" * 250,
    ],
)
def test_any_other_text_is_a_plain_symbol(text: str) -> None:
    assert parse(text) is None
