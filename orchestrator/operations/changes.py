"""Changes a campaign after it was submitted: its name, its labels, and the priority of its jobs that still wait."""

from __future__ import annotations

from collections.abc import Mapping

from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import fill_queues
from orchestrator.store import campaigns


def change_campaign(
    ctx: Context, campaign_id: str, *, name: str | None = None, labels: Mapping[str, str] | None = None, priority: int | None = None
) -> None:
    """Change what is not None. A job whose message is in a queue already keeps its priority, unless it comes back.

    Files that were written when the campaign ended keep the name and the labels of that time.

    Raises:
        NotFound: there is no such campaign.
    """

    def write(session: Session) -> None:
        if priority is not None:  # jobs are locked before campaigns, as everywhere
            campaigns.set_priority(session, campaign_id, priority)
        campaigns.change(session, campaign_id, name=name, labels=labels)

    ctx.store.transact(write)
    if priority is not None:
        fill_queues(ctx, f"the priority of {campaign_id} is {priority}")
