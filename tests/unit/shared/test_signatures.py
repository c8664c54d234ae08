from __future__ import annotations

import pytest

from shared.protocol.signatures import is_signed, new_key, sign

# These are the test cases 1 and 2 of RFC 4231.
VECTORS = [
    ("0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe".hex(), b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
]


@pytest.mark.parametrize(("key", "body", "mac"), VECTORS)
def test_a_signature_is_the_hmac_of_the_rfc(key: str, body: bytes, mac: str) -> None:
    assert sign(key, body) == mac
    assert is_signed(key, body, mac)


def test_another_body_another_key_and_what_is_no_signature_are_told_apart() -> None:
    key, body = new_key(), b'{"job_id": "j"}'
    mac = sign(key, body)
    assert new_key() != key
    assert is_signed(key, body, mac)
    assert not is_signed(key, body + b" ", mac)
    assert not is_signed(new_key(), body, mac)
    for nonsense in ("", mac[:-1], mac.upper(), mac + "0", "é" * 64, "\ud800"):
        assert not is_signed(key, body, nonsense)
