"""Checks ids in paths and queries. A malformed id gets a 404 like an unknown one, before any query uses it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from shared.errors import NotFound
from shared.ids import CAMPAIGN_ID, JOB_ID, SHA256, TOKEN_ID, WORKER_ID


def campaign_id_of(text: str) -> str:
    """Return a campaign's id from a query parameter.

    Raises:
        NotFound: the text cannot be one.
    """
    if CAMPAIGN_ID.fullmatch(text) is None:
        raise NotFound(f"no campaign has the id {text!r:.200}; GET /api/campaigns lists them")
    return text


def _campaign_id(campaign_id: Annotated[str, Path(examples=["campaign-0123456789abcdefgh"])]) -> str:
    return campaign_id_of(campaign_id)


def _job_id(job_id: Annotated[str, Path(examples=["campaign-0123456789abcdefgh-job-1"])]) -> str:
    if JOB_ID.fullmatch(job_id) is None:
        raise NotFound(f"no job has the id {job_id!r}; GET /api/jobs lists them")
    return job_id


def _worker_id(worker_id: Annotated[str, Path(examples=["worker-0123456789ab"])]) -> str:
    if WORKER_ID.fullmatch(worker_id) is None:
        raise NotFound(f"no worker has the id {worker_id!r}; GET /api/workers lists them, POST /api/register enters one")
    return worker_id


def _token_id(token_id: Annotated[str, Path(examples=["token-0123456789abcdefgh"])]) -> str:
    if TOKEN_ID.fullmatch(token_id) is None:
        raise NotFound(f"no token has the id {token_id!r}; GET /api/tokens lists them")
    return token_id


def _sha256(sha256: Annotated[str, Path(examples=["ab" * 32])]) -> str:
    if SHA256.fullmatch(sha256) is None:
        raise NotFound(f"{sha256!r} is no SHA-256 (64 hexadecimal digits, lower case)")
    return sha256


CampaignId = Annotated[str, Depends(_campaign_id)]
JobId = Annotated[str, Depends(_job_id)]
WorkerId = Annotated[str, Depends(_worker_id)]
TokenId = Annotated[str, Depends(_token_id)]
Sha256 = Annotated[str, Depends(_sha256)]
