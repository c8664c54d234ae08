from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.pages import campaign_of, job_of
from shared.errors import InvalidInput
from shared.ids import job_id

CAMPAIGN = "campaign-0123456789abcdefgh"


@given(st.integers(1, 999_999_999))
def test_the_id_of_a_job_is_the_key_of_the_page_behind_it(number: int) -> None:
    assert job_of(job_id(CAMPAIGN, number)) == (CAMPAIGN, number)


def test_no_cursor_is_the_first_page() -> None:
    assert campaign_of(None) is None
    assert job_of(None) is None


@given(st.text(max_size=60) | st.sampled_from([CAMPAIGN, f"{CAMPAIGN}-job-0", f"{CAMPAIGN}-job-{10**9}", f"{CAMPAIGN}-job-1\n"]))
def test_a_cursor_nobody_gave_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="no cursor of this list") as caught:
        job_of(text)
    assert caught.value.fields[0].path == "query.cursor"
    with pytest.raises(InvalidInput, match="no cursor of this list"):
        campaign_of(f"{text} ")
