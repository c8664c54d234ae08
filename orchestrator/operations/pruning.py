"""Removes what is old, or says what would be removed. It is safe beside running campaigns and beside other calls of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from orchestrator.operations.context import Context
from orchestrator.operations.removal import Removed, old_campaigns, remove_campaign, remove_model, unused_models
from orchestrator.store.tables import ModelFile
from shared.errors import IllegalTransition, NotFound

log = logging.getLogger(__name__)

AT_ONCE = 100  # the most campaigns that one call removes


@dataclass(frozen=True)
class Pruned:
    """Says what was removed, or would be. `more` is True if there may be more campaigns of that age."""

    campaigns: list[Removed]
    models: list[ModelFile]
    more: bool


def prune(ctx: Context, before: datetime, *, campaigns: bool = True, models: bool = True, removing: bool) -> Pruned:
    """Remove campaigns that ended before this moment, and models that no job names and nobody has uploaded since.

    Models that only these campaigns name count as unused once the campaigns are gone; a call that removes nothing does not list them.

    Args:
        removing: False only says what would be removed.

    Raises:
        Unavailable: the database does not answer. What was removed before that stays removed.
        OSError: a folder cannot be written.
    """
    found = old_campaigns(ctx, before, limit=AT_ONCE) if campaigns else []
    gone = [done for one in found if (done := _removed(ctx, one)) is not None] if removing else found
    scanned_at = ctx.clock.now()
    unused = unused_models(ctx, before) if models else []
    if removing:
        unused = [one for one in unused if remove_model(ctx, one.sha256, before, scanned_at)]
    for model in unused if removing else ():
        log.info("removed the model %s (%s), which no job names: %d bytes", model.name, model.sha256, model.size)
    return Pruned(gone, unused, more=len(found) == AT_ONCE)


def _removed(ctx: Context, found: Removed) -> Removed | None:
    try:
        return remove_campaign(ctx, found.campaign_id)
    except (NotFound, IllegalTransition) as error:  # another call was faster, or one of its jobs was retried
        log.info("%s stays: %s", found.campaign_id, error.detail)
        return None
