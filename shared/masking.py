"""Removes secrets from logs, errors, reports, and the environment of processes that do not need them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Matches a login in any address, such as redis://:secret@host or https://token@host. The login may contain an unencoded @ or quote. But a
# quote that is followed by `,`, `}`, `]` or `:` is taken as the end of a JSON string. The pattern begins at the colon, because one that
# begins with the scheme takes quadratic time on a long word.
_START = r"(?P<start>:[/\\]{2,4})"
_QUOTE = r"\"(?![,}\]:])"
_LOGIN = re.compile(rf"{_START}(?:[^\s/\\\"]|{_QUOTE})*@")
# Matches a login with an unencoded /. It is recognised because the text in the place of the port is not a port number.
_PORT = r"\d*(?:[/?#\s\"',;:)}\]>\\]|$)"
_UNENCODED = re.compile(rf"{_START}[^\s/\\@:\[\]\"]*:(?!{_PORT})(?:(?!:[/\\]{{2}})(?:[^\s\"]|{_QUOTE}))*@")
_BEARER = re.compile(r"(?P<start>bearer\s+)[^\s'\"`<…][^\s'\"`]*", re.IGNORECASE)
_TOKEN = re.compile(r"fleetmark_[A-Za-z0-9_-]{43}")

# A variable counts as a credential if its name contains one of these words or endings, or if its value looks like a credential.
_CREDENTIAL_WORDS = frozenset({"AUTH", "COOKIE", "KEY", "KEYS", "PASS", "PAT"})
_CREDENTIAL_ENDS = ("APIKEY", "CREDENTIAL", "CREDENTIALS", "PASSFILE", "PASSPHRASE", "PASSWD", "PASSWORD", "SECRET", "SECRETS", "TOKEN")
_CREDENTIAL_VALUE = re.compile(r"(?:password|passwd|pwd|secret|token|accountkey|accesskey)\s*=", re.IGNORECASE)


def masked(text: str) -> str:
    """Return the text with `***` instead of logins in addresses, bearer tokens and Fleetmark tokens.

    It recognises secrets by their form. It cannot recognise a password that stands alone, so code must never print one.
    """
    return _TOKEN.sub("fleetmark_***", _BEARER.sub(r"\g<start>***", without_logins(text)))


def without_logins(text: str) -> str:
    """Return the text with `***` instead of logins in addresses.

    Texts without an address are returned quickly, because files of 100 000 jobs pass through here.
    """
    if not may_hold_login(text):
        return text
    return _UNENCODED.sub(r"\g<start>***@", _LOGIN.sub(r"\g<start>***@", text))


def may_hold_login(text: str) -> bool:
    return "@" in text and (":/" in text or ":\\" in text)


def content_without_logins(content: Any) -> Any:
    """Return the content with `without_logins` applied to every text in its lists and mappings, including keys.

    This must happen before the content is written as JSON or YAML, where a quote in a password looks like the end of the text.
    """
    if isinstance(content, str):
        return without_logins(content)
    if isinstance(content, Mapping):
        return {content_without_logins(key): content_without_logins(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [content_without_logins(value) for value in content]
    return content


def without_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables without those that hold a credential, for a process that needs none.

    A list of allowed variables would not work, because a runtime may read any of hundreds (LD_LIBRARY_PATH, CUDA_…, OMP_…).
    """
    return {name: value for name, value in environment.items() if not _is_credential(name, value)}


def _is_credential(name: str, value: str) -> bool:
    words = re.split(r"[^A-Z0-9]+", name.upper())
    named = not _CREDENTIAL_WORDS.isdisjoint(words) or any(word.endswith(_CREDENTIAL_ENDS) for word in words)
    return named or (words[-1] == "PWD" and name != "PWD") or masked(value) != value or _CREDENTIAL_VALUE.search(value) is not None
