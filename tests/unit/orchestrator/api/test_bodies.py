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


def test_a_key_that_is_given_twice_is_refused_because_one_value_would_be_lost() -> None:
    for read in (read_json, lambda raw: parse(Outer, raw)):
        with pytest.raises(InvalidInput, match="the key 'name' twice"):
            read(b'{"name": "x", "parts": [], "name": "y"}')
    with pytest.raises(InvalidInput, match="the key 'threads' twice"):
        parse(Outer, b'{"parts": [{"threads": 1, "threads": 2}]}')


def test_a_byte_order_mark_before_a_body_does_not_matter() -> None:
    assert read_json(b'\xef\xbb\xbf{"name": "y"}') == {"name": "y"}
    assert parse(Outer, b'\xef\xbb\xbf{"name": "y"}').name == "y"
    assert parse_optional(Outer, b'\xef\xbb\xbf{"name": "y"}').name == "y"


def test_a_body_in_utf_16_is_called_that() -> None:
    for raw in ('{"name": "y"}'.encode("utf-16"), b"\xfe\xff" + '{"name": "y"}'.encode("utf-16-be")):
        with pytest.raises(BadRequest, match="UTF-16; send it in UTF-8"):
            parse(Outer, raw)


@pytest.mark.parametrize("raw", [b"model: a.onnx\non: [cpu.onnx]\n", b"# a recipe\r\nmodel: a.onnx\r\n", b"---\nmodel: a\n"])
def test_a_recipe_in_yaml_that_is_sent_as_json_is_told_the_header_that_it_needs(raw: bytes) -> None:
    with pytest.raises(BadRequest, match="needs the header `Content-Type: application/yaml`"):
        read_json(raw)


def test_broken_json_is_not_taken_for_yaml() -> None:
    with pytest.raises(BadRequest) as caught:
        read_json(b'{"name": ')
    assert "yaml" not in caught.value.detail
