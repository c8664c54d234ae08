"""Waits until the answers to a task are judged, which the orchestrator does after a campaign has ended."""

from __future__ import annotations

from typing import Any

from cli.client import Client
from cli.terminal import say
from shared.clock import Clock, SystemClock

POLL_S = 0.4
PATIENCE_S = 600.0


def await_scores(
    client: Client, campaign: dict[str, Any], *, files: bool = False, clock: Clock | None = None, patience_s: float = PATIENCE_S
) -> dict[str, Any]:
    """Return a campaign when its answers are judged. If that takes longer than `patience_s`, say so and return it as it is.

    Args:
        campaign: The API's description of it. That of an earlier version has no `scores_due`.
        files: Also wait until its files are written.
    """
    clock = clock or SystemClock()
    end = clock.monotonic() + patience_s
    if campaign.get("scores_due"):
        say("The answers are being judged")
    while campaign.get("scores_due") or (files and not campaign["reported_at"]):
        if clock.monotonic() >= end:
            say(f"The answers are still not judged after {patience_s:g} s; the scores come later")
            break
        clock.sleep(POLL_S)
        campaign = client.get(f"campaigns/{campaign['campaign_id']}", jobs="false")
    return campaign
