"""Makes identifiers. They are readable and unique. Those of campaigns and tokens sort by their time of creation."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"  # without i, l, o and u, which are easily confused with other characters

CAMPAIGN_ID = re.compile(r"campaign-[0-9a-z]{18}")
JOB_ID = re.compile(r"(campaign-[0-9a-z]{18})-job-([1-9][0-9]{0,8})")  # nine digits fit into the database column
WORKER_ID = re.compile(r"worker-[0-9a-z][0-9a-z-]{0,62}")
TOKEN_ID = re.compile(r"token-[0-9a-z]{18}")
SHA256 = re.compile(r"[0-9a-f]{64}")

AttemptKey = tuple[str, int]  # job id, attempt


def _base32(number: int, length: int) -> str:
    digits = [_CROCKFORD[(number >> (5 * place)) & 31] for place in reversed(range(length))]
    return "".join(digits)


def new_campaign_id(now: datetime) -> str:
    """Return a new campaign id: `campaign-` and 18 characters.

    The first 10 characters are the milliseconds since 1970, so ids sort by time of creation. The other 8 are random (40 bits).
    """
    return f"campaign-{_sortable(now)}"


def first_campaign_id(moment: datetime) -> str:
    """Return the smallest id that a campaign of this moment can have. Ids of earlier campaigns are smaller, those of later ones greater."""
    return f"campaign-{_base32(_milliseconds(moment), 10)}{'0' * 8}"


def new_token_id(now: datetime) -> str:
    """Return a new id for a bearer token, built like a campaign id. It names the token and reveals nothing of its secret."""
    return f"token-{_sortable(now)}"


def _sortable(now: datetime) -> str:
    return f"{_base32(_milliseconds(now), 10)}{_base32(secrets.randbits(40), 8)}"


def _milliseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)


def job_id(campaign_id: str, number: int) -> str:
    """Return the id of a campaign's job. `number` counts from 1."""
    return f"{campaign_id}-job-{number}"


def campaign_of(job_id: str) -> str:
    """Return the id of the campaign that a job belongs to."""
    return job_id.rpartition("-job-")[0]


def number_of(job_id: str) -> int:
    """Return the number of a job in its campaign, and 0 for a name that is no id of a job."""
    last = job_id.rpartition("-job-")[2]
    return int(last) if last.isdecimal() else 0


def new_worker_id() -> str:
    return f"worker-{_base32(secrets.randbits(60), 12)}"


def worker_id_of(udid: str) -> str:
    """Return the worker id of the device with this UDID.

    It is computed from the UDID alone, so it is the same after Redis has lost its data, and the device's private queue keeps its name.
    """
    return f"worker-{_base32(int.from_bytes(hashlib.sha256(udid.encode()).digest()[:8]) >> 4, 12)}"


def new_incarnation() -> str:
    """Return a new id for one process start. It distinguishes a restarted worker from its predecessor."""
    return _base32(secrets.randbits(80), 16)
