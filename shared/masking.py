"""Secrets out of what others see: logs, errors, reports, the environment of a process that is not trusted with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# A login in any address: redis://:secret@host, https://token@host. It may hold an @ and a quote that nobody encoded; a quote before
# what follows a text in JSON ends it. Begins at the colon: a pattern that begins with the scheme takes quadratic time on a long word.
_START = r"(?P<start>:[/\\]{2,4})"
_QUOTE = r"\"(?![,}\]:])"
_LOGIN = re.compile(rf"{_START}(?:[^\s/\\\"]|{_QUOTE})*@")
# One with a / that nobody encoded: what stands in the place of the port does not end as a port does.
_PORT = r"\d*(?:[/?#\s\"',;:)}\]>\\]|$)"
_UNENCODED = re.compile(rf"{_START}[^\s/\\@:\[\]\"]*:(?!{_PORT})(?:(?!:[/\\]{{2}})(?:[^\s\"]|{_QUOTE}))*@")
_BEARER = re.compile(r"(?P<start>bearer\s+)[^\s'\"`<…][^\s'\"`]*", re.IGNORECASE)
_TOKEN = re.compile(r"fleetmark_[A-Za-z0-9_-]{43}")

# A variable is a credential when a word of its name says so, or when its value has the form of one.
_CREDENTIAL_WORDS = frozenset({"AUTH", "COOKIE", "KEY", "KEYS", "PASS", "PAT"})
_CREDENTIAL_ENDS = ("APIKEY", "CREDENTIAL", "CREDENTIALS", "PASSFILE", "PASSPHRASE", "PASSWD", "PASSWORD", "SECRET", "SECRETS", "TOKEN")
_CREDENTIAL_VALUE = re.compile(r"(?:password|passwd|pwd|secret|token|accountkey|accesskey)\s*=", re.IGNORECASE)


def masked(text: str) -> str:
    """The text with `***` for logins in addresses, bearer tokens, and whatever has the form of a token of ours.

    It knows forms, not secrets: a password that stands alone is not recognised, so nothing may print one.
    """
    return _TOKEN.sub("fleetmark_***", _BEARER.sub(r"\g<start>***", without_logins(text)))


def without_logins(text: str) -> str:
    """The text with `***` for logins in addresses; quick where there is none, for files of 100 000 jobs."""
    if not may_hold_login(text):
        return text
    return _UNENCODED.sub(r"\g<start>***@", _LOGIN.sub(r"\g<start>***@", text))


def may_hold_login(text: str) -> bool:
    return "@" in text and (":/" in text or ":\\" in text)


def content_without_logins(content: Any) -> Any:
    """The same of each text in lists and mappings, keys included: once it is JSON or YAML, a quote in a password looks like its end."""
    if isinstance(content, str):
        return without_logins(content)
    if isinstance(content, Mapping):
        return {content_without_logins(key): content_without_logins(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [content_without_logins(value) for value in content]
    return content


def without_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables for a process that needs no secret of ours, nor of anybody's: all but those that hold one.

    Not a list of what is allowed, for a runtime may read any of hundreds (LD_LIBRARY_PATH, CUDA_…, OMP_…).
    """
    return {name: value for name, value in environment.items() if not _is_credential(name, value)}


def _is_credential(name: str, value: str) -> bool:
    words = re.split(r"[^A-Z0-9]+", name.upper())
    named = not _CREDENTIAL_WORDS.isdisjoint(words) or any(word.endswith(_CREDENTIAL_ENDS) for word in words)
    return named or (words[-1] == "PWD" and name != "PWD") or masked(value) != value or _CREDENTIAL_VALUE.search(value) is not None
