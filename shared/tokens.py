"""Defines the form and the roles of bearer tokens, and reads a process's own token."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

PREFIX = "fleetmark_"  # lets people and secret scanners recognise a leaked token
# This is the form of the tokens that the orchestrator's `new_secret` makes: 32 random bytes as base64url.
MADE = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
SHOWN_IN_THE_PROCESS_LIST = "--token shows the token in the process list; FLEETMARK_TOKEN and FLEETMARK_TOKEN_FILE do not"
_USABLE = re.compile(r"[\x21-\x7e]+")


class Role(StrEnum):
    """Says what the holder of a token may do. `admin` includes `submitter`, which includes `viewer`; `worker` is separate."""

    VIEWER = "viewer"  # may read campaigns, results, workers, queues and metrics
    SUBMITTER = "submitter"  # may also submit, cancel and upload models
    WORKER = "worker"  # may do what a device needs, and nothing about campaigns
    ADMIN = "admin"  # may do everything, including tokens and reset


def usable_token(value: str) -> str:
    """Return a token without surrounding white space, which files and shells often add.

    Raises:
        ValueError: the token contains characters that cannot be sent in a header. The message does not repeat the token.
    """
    token = value.strip()
    if not _USABLE.fullmatch(token):
        raise ValueError("a token is printable ASCII without spaces")
    return token


def with_token_of_file(values: Any) -> Any:
    """Return the values of a settings class, with `token` read from `token_file` if only the latter is given.

    Raises:
        ValueError: the file cannot be read, or is empty.
    """
    if not isinstance(values, dict) or not values.get("token_file") or values.get("token"):
        return values
    path = Path(values["token_file"])
    try:
        token = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the token file {path} cannot be read: {error}") from error
    if not token.strip():
        raise ValueError(f"the token file {path} is empty")
    return values | {"token": token}
