from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.pages import decode_cursor, encode_cursor
from shared.errors import InvalidInput

CAMPAIGN = "campaign-0123456789abcdefgh"


@given(st.integers(min_value=0, max_value=2**31 - 1))
def test_a_cursor_comes_back_as_the_key_it_was_made_of(number: int) -> None:
    assert decode_cursor(encode_cursor(CAMPAIGN, number), str, int) == (CAMPAIGN, number)


def test_no_cursor_is_the_first_page() -> None:
    assert decode_cursor(None, str) is None


@given(st.text(max_size=60))
def test_a_cursor_nobody_gave_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_cursor(text, str, int)
    assert caught.value.fields[0].path == "query.cursor"


@pytest.mark.parametrize(
    "key", [[CAMPAIGN], [CAMPAIGN, "1"], [CAMPAIGN, True], [CAMPAIGN, 2**31], [CAMPAIGN, -1], ["a\0b", 1], ["A", 1], {}, 1]
)
def test_a_key_that_no_column_holds_is_refused(key: object) -> None:
    forged = base64.urlsafe_b64encode(json.dumps(key).encode()).decode()
    with pytest.raises(InvalidInput, match="no cursor of this list"):
        decode_cursor(forged, str, int)
