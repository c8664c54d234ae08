"""Secrets out of texts that people read: logs, errors, reports."""

from __future__ import annotations

import re

# The password in any address: redis://:secret@host, https://user:secret@host. It may hold an @ that nobody encoded.
# Begins at the colon: a pattern that begins with the scheme takes quadratic time on a long word.
_PASSWORD = re.compile(r"(?P<start>://[^\s:/@'\"]*:)[^\s/'\"]*@")
_BEARER = re.compile(r"(?P<start>bearer\s+)[^\s'\"`<…][^\s'\"`]*", re.IGNORECASE)
_TOKEN = re.compile(r"fleetmark_[A-Za-z0-9_-]{43}")


def masked(text: str) -> str:
    """The text with `***` for passwords in addresses, bearer tokens, and whatever has the form of a token of ours.

    It knows forms, not secrets: a password that stands alone is not recognised, so nothing may print one.
    """
    return _TOKEN.sub("fleetmark_***", _BEARER.sub(r"\g<start>***", without_passwords(text)))


def without_passwords(text: str) -> str:
    """The text with `***` for passwords in addresses; quick where there is none, for files of 100 000 jobs."""
    return _PASSWORD.sub(r"\g<start>***@", text) if "@" in text and "://" in text else text
