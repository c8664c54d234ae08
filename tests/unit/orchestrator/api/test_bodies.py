from __future__ import annotations

import pytest

from orchestrator.api.bodies import parse, parse_optional, read_json
from shared.errors import BadRequest, InvalidInput
from shared.strict import Strict


class Inner(Strict):
    threads: int = 1


class Outer(Strict):
    name: str = "x"
    parts: tuple[Inner, ...] = ()


def test_a_body_is_read_by_its_bytes() -> None:
    assert parse(Outer, b'{"parts": [{"threads": 2}]}').parts == (Inner(threads=2),)
    assert parse_optional(Outer, b"  ") == Outer()


def test_an_unknown_key_names_the_nearest_known_one_of_its_place() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(Outer, b'{"nam": "y", "parts": [{"thread": 2}]}')
    messages = {field.path: field.message for field in caught.value.fields}
    assert messages["parts.0.thread"] == "unknown key 'thread': did you mean 'threads'? Known: threads"
    assert messages["nam"].startswith("unknown key 'nam': did you mean 'name'?")
    assert caught.value.detail.endswith("(and 1 more)")


@pytest.mark.parametrize("raw", [b'{"name": "a\\u0000"}', b'{"name": "a\0"}', b'{"name": "\\\\\\u0000"}'])
def test_a_text_with_nul_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="NUL"):
        read_json(raw)


def test_a_backslash_before_u0000_is_text() -> None:
    assert read_json(b'{"name": "a\\\\u0000"}') == {"name": "a\\u0000"}


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 5_000, b'{"a": "\\ud800"}', b"\xff"])
def test_what_is_not_json_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        read_json(raw)
