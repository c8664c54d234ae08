"""Identifiers: readable, unique, and for campaigns sortable by the time of their making."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"  # no i, l, o, u: safe to read aloud

CAMPAIGN_ID = re.compile(r"campaign-[0-9a-z]{18}")
JOB_ID = re.compile(r"(campaign-[0-9a-z]{18})-job-([1-9][0-9]{0,8})")  # the number fits its column
WORKER_ID = re.compile(r"worker-[0-9a-z][0-9a-z-]{0,62}")
TOKEN_ID = re.compile(r"token-[0-9a-z]{18}")
SHA256 = re.compile(r"[0-9a-f]{64}")

AttemptKey = tuple[str, int]  # a job's id, and the number of one attempt at it


def _base32(number: int, length: int) -> str:
    digits = [_CROCKFORD[(number >> (5 * place)) & 31] for place in reversed(range(length))]
    return "".join(digits)


def new_campaign_id(now: datetime) -> str:
    """`campaign-` and 18 characters: 10 of milliseconds since 1970, 8 random (40 bits). Sorts by time of making."""
    return f"campaign-{_sortable(now)}"


def new_token_id(now: datetime) -> str:
    """The id of a bearer token, made like a campaign's: it names the token, and is none of its secret."""
    return f"token-{_sortable(now)}"


def _sortable(now: datetime) -> str:
    milliseconds = int(now.astimezone(UTC).timestamp() * 1000)
    return f"{_base32(milliseconds, 10)}{_base32(secrets.randbits(40), 8)}"


def job_id(campaign_id: str, number: int) -> str:
    """The id of the `number`-th job of a campaign, counted from 1."""
    return f"{campaign_id}-job-{number}"


def campaign_of(job_id: str) -> str:
    """The id of a job's campaign."""
    return job_id.rpartition("-job-")[0]


def new_worker_id() -> str:
    return f"worker-{_base32(secrets.randbits(60), 12)}"


def worker_id_of(udid: str) -> str:
    """The id of the device with this UDID: the same even after Redis lost its memory, so its private queue keeps its name."""
    return f"worker-{_base32(int.from_bytes(hashlib.sha256(udid.encode()).digest()[:8]) >> 4, 12)}"


def new_incarnation() -> str:
    """One id a process start: tells a restarted worker from the one that died."""
    return _base32(secrets.randbits(80), 16)
