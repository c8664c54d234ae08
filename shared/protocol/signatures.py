"""Signs reports and checks who wrote them.

A signature is an HMAC-SHA256 (RFC 2104) over the bytes of the message. Its key is given to the worker when it enrols. Signatures are
needed because all workers push to the one list `results`, and Redis does not say who added an item. A replayed message has a valid
signature too, but it changes nothing: a result is recorded once, and the start or hand-back of an attempt that is over is ignored.
"""

from __future__ import annotations

import hmac
import secrets

HEADER = "mac"  # the header of the message's envelope that holds the signature; the body does not change


def new_key() -> str:
    """Return a new key: 256 random bits as hexadecimal digits."""
    return secrets.token_hex(32)


def sign(key: str, body: bytes) -> str:
    return hmac.digest(bytes.fromhex(key), body, "sha256").hex()


def is_signed(key: str, body: bytes, mac: str) -> bool:
    return hmac.compare_digest(sign(key, body).encode(), mac.encode(errors="replace"))
