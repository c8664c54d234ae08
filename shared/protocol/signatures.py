"""Who wrote a report: an HMAC-SHA256 (RFC 2104) over the bytes of its message, with the key its worker was told when it enrolled.

`results` is one list, and Redis does not say who put something there. A copy of a message that was sent before is signed as well, and
changes nothing: a result is recorded once, and a start or a hand-back of an attempt that is over is not wanted.
"""

from __future__ import annotations

import hmac
import secrets

HEADER = "mac"  # of the message's envelope: the body stays what it is without


def new_key() -> str:
    """256 random bits, as hexadecimal digits."""
    return secrets.token_hex(32)


def sign(key: str, body: bytes) -> str:
    return hmac.digest(bytes.fromhex(key), body, "sha256").hex()


def is_signed(key: str, body: bytes, mac: str) -> bool:
    return hmac.compare_digest(sign(key, body).encode(), mac.encode(errors="replace"))
