from __future__ import annotations

import secrets

import pytest

from shared.masking import masked, without_passwords

SECRET = "fleetmark_" + secrets.token_urlsafe(32)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("broker redis://:hunter2@host:6379/0 is away", "broker redis://:***@host:6379/0 is away"),
        ("rediss://user:p%40ss@host", "rediss://user:***@host"),
        ("redis://:p@ss@host:6379/0 and a@b", "redis://:***@host:6379/0 and a@b"),
        ("two: https://u:one@h/m.onnx http://v:two@i", "two: https://u:***@h/m.onnx http://v:***@i"),
        ('{"a": "redis://:pw@h", "b": "x@y"}', '{"a": "redis://:***@h", "b": "x@y"}'),
        ("redis://host:6379/0 and http://host:5000/api", "redis://host:6379/0 and http://host:5000/api"),
        ("postgresql://postgres@host/db", "postgresql://postgres@host/db"),
    ],
)
def test_a_password_in_an_address_is_not_shown(text: str, shown: str) -> None:
    assert masked(text) == without_passwords(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("Illegal header value b'bearer abc\\n'", "Illegal header value b'bearer ***'"),
        pytest.param(f"made {SECRET}, keep it", "made fleetmark_***, keep it", id="a secret"),  # another one each time, in no name
        ("send `Authorization: Bearer <token>` or `Bearer …`", "send `Authorization: Bearer <token>` or `Bearer …`"),
        (f"token-{'0' * 18} is only a name", f"token-{'0' * 18} is only a name"),
    ],
)
def test_a_token_is_not_shown(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_long_text_takes_no_longer_than_its_length_says() -> None:
    """A pattern that tries each start again would take hours for these."""
    for long in ("a" * 1_000_000 + "@://", "://a:" * 200_000 + "@", "bearer " * 100_000, "fleetmark_" * 100_000):
        assert len(masked(long)) > 0
