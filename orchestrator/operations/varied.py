"""Finds the options in which the jobs of a campaign differ. They are read once from its recipe and cached, as a recipe never changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock

from sqlmodel import Session

from orchestrator.reports.parameters import varied_paths
from orchestrator.store import campaigns

REMEMBERED = 1_000  # the number of campaigns in the cache; a recipe may have megabytes, but its varied paths are short


class Varied:
    """Caches the varied paths of the most recently used campaigns. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._lock = Lock()

    def of(self, session: Session, campaign_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return for each campaign the paths into a job at which its jobs differ (see `reports.parameters`)."""
        wanted = set(campaign_ids)
        with self._lock:
            found = {campaign_id: self._known[campaign_id] for campaign_id in wanted if campaign_id in self._known}
        if len(found) < len(wanted):
            parts = campaigns.recipe_parts(session, wanted - found.keys())
            found |= {campaign_id: varied_paths(*of_recipe) for campaign_id, of_recipe in parts.items()}
        with self._lock:
            for campaign_id, paths in found.items():
                self._known[campaign_id] = paths
                self._known.move_to_end(campaign_id)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return {campaign_id: found.get(campaign_id, ()) for campaign_id in wanted}
