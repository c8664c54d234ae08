from __future__ import annotations

import pytest

from shared.labels import price_in, why_no_price, with_a_price


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("1.50", 1.5),
        ("0", 0.0),
        (" 2 ", 2.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("+1", 1.0),
        ("+.5e1", 5.0),
        ("3e-4", 0.0003),
        ("1.7e308", 1.7e308),
    ],
)
def test_a_price_is_a_number_of_zero_or_more(text: str, price: float) -> None:
    assert price_in({"price_per_hour": text}) == price
    assert with_a_price({"price_per_hour": text}) == {"price_per_hour": text}


@pytest.mark.parametrize(
    "text", ["1,50", "€2", "-1", "1e400", "nan", "inf", "1_50", "2/h", ".", "+", "+-1", ".e1", "2 per hour", "0x10", "٣", "", "cheap"]
)
def test_a_label_that_is_no_price_is_refused_with_what_to_write(text: str) -> None:
    assert price_in({"price_per_hour": text}) is None
    with pytest.raises(ValueError, match=r"the label price_per_hour is .*, which is no price: write a number of 0 or more, such as 1\.50"):
        with_a_price({"price_per_hour": text})


def test_labels_without_a_price_are_fine() -> None:
    assert price_in({"site": "lab"}) is None
    assert why_no_price({"site": "lab"}) == ""
