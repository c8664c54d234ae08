from __future__ import annotations

import pytest

from shared.addresses import login_of, require_readable, shown_address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host/m.onnx", "https://host/m.onnx"),
        ("https://host:8443/a@2.onnx?b@c", "https://host:8443/a@2.onnx?b@c"),
        ("hf://org/repo@main/m.onnx", "hf://org/repo@main/m.onnx"),
        ("file:///models/a@2.onnx", "file:///models/a@2.onnx"),
        ("sha256:" + "0" * 64, "sha256:" + "0" * 64),
        ("models/a@2.onnx", "models/a@2.onnx"),
        ("https://user:pa'ss@host/m.onnx", "https://***@host/m.onnx"),
        ("https://user:p@ss@host/m.onnx", "https://***@host/m.onnx"),
        ("https://ghp_secret@host/m.onnx", "https://***@host/m.onnx"),
        ("https://user:secret@[::1]:8443", "https://***@[::1]:8443"),
    ],
)
def test_a_login_is_not_shown_and_the_rest_is(address: str, shown: str) -> None:
    assert shown_address(address) == shown
    if "://" in address:
        require_readable(address)


UNREADABLE = [
    "https://user:p/secret@host/m.onnx",
    "https://user:p?secret@host/m.onnx",
    "https://user:p#secret@host/m.onnx",
    "https://us er:secret@host/m.onnx",
    'https://user:pa"secret@host/m.onnx',
    "https://user:pa\\secret@host/m.onnx",
    "https://user:pa\tsecret@host/m.onnx",
    "https://user:[secret@host/m.onnx",
    "https://user:secret\u2100@host/m.onnx",  # the message of Python's parser contains this address; the character stands for a/c
    "redis://:secret",
]


@pytest.mark.parametrize("address", UNREADABLE)
def test_what_cannot_be_read_is_refused_and_nothing_of_it_is_shown(address: str) -> None:
    with pytest.raises(ValueError, match="%2F") as refused:
        require_readable(address)
    assert "secret" not in str(refused.value) + shown_address(address)
    assert shown_address(address).partition("://")[0] == address.partition("://")[0]


@pytest.mark.parametrize("text", [r"https:\\user:secret@host", "https:/user:secret@host", "user:secret@host/m.onnx"])
def test_what_only_looks_like_an_address_hides_what_may_be_a_login(text: str) -> None:
    assert "secret" not in shown_address(text)


def test_a_login_is_read_as_it_is_written() -> None:
    assert login_of("redis://me:p%40ss@host:6379/0") == "me:p%40ss"
    assert login_of("redis://host:6379/0") == ""
