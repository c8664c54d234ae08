from __future__ import annotations

import pytest

from shared.hosts import is_ours


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:5000", "127.8.9.1:80", "localhost", "LOCALHOST:5000", "localhost.", "[::1]:5000", "[::1]", ""]
)
def test_names_of_this_machine_are_ours(host: str) -> None:
    assert is_ours(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5000",
        "127.0.0.1.evil.example:5000",
        "localhost.evil.example",
        "10.0.0.7:5000",
        "[fe80::1]:5000",
        "0x7f.1",
        "2130706433",
    ],
)
def test_any_other_name_may_be_a_page_that_resolves_to_us(host: str) -> None:
    assert not is_ours(host, "127.0.0.1")


def test_the_name_we_are_bound_to_is_ours() -> None:
    assert is_ours("MyBox:5000", "mybox")
    assert not is_ours("otherbox:5000", "mybox")
