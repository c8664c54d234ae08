"""Bearer tokens: what one looks like, what it allows, and where a process finds its own."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

PREFIX = "fleetmark_"  # tells a person, and a scanner of repositories, what a stray secret is
# As made by `new_secret` of the orchestrator: 32 random bytes, base64url.
MADE = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
SHOWN_IN_THE_PROCESS_LIST = "--token shows the token in the process list; FLEETMARK_TOKEN and FLEETMARK_TOKEN_FILE do not"
_USABLE = re.compile(r"[\x21-\x7e]+")


class Role(StrEnum):
    """What the holder of a token may do. `viewer`, `submitter` and `admin` include one another; a worker is none of them."""

    VIEWER = "viewer"  # reads: campaigns, results, workers, queues, metrics
    SUBMITTER = "submitter"  # also submits, cancels, uploads models
    WORKER = "worker"  # what a device needs, and nothing about campaigns
    ADMIN = "admin"  # everything, tokens and reset included


def usable_token(value: str) -> str:
    """A token as it can stand in a header, without the white space a file or a shell leaves around it.

    Raises:
        ValueError: something in it cannot be sent; the message does not repeat it.
    """
    token = value.strip()
    if not _USABLE.fullmatch(token):
        raise ValueError("a token is printable ASCII without spaces")
    return token


def with_token_of_file(values: Any) -> Any:
    """Values of a settings class, with the token that `token_file` names where no `token` is given.

    Raises:
        ValueError: the file cannot be read, or holds no token.
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
