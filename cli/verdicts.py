"""Shows the answer of a campaign's report below the table of its results: what is best, and what cannot be told apart."""

from __future__ import annotations

from typing import Any

from cli.client import Client
from cli.errors import ApiError
from cli.terminal import out, say, shown
from shared.clock import Clock, SystemClock
from shared.installation import how_to_call

WAIT_S = 30.0  # the report is written a second or two after the last job, or later on a busy machine; the table does not wait longer
POLL_S = 0.2
MAX_SHOWN = 10
_NOT_YET, _NO_REPORT = 409, 404


def show_verdicts(client: Client, campaign_id: str, clock: Clock | None = None) -> None:
    """Print the verdict on each question with more than one result. Nothing is printed if the report was removed."""
    found = _answers(client, campaign_id, clock or SystemClock())
    if found is None:
        shown_by = how_to_call("report", campaign_id)
        say(f"The answer is not shown, because the report is still being written. It is the first sentence of the report: {shown_by}")
        return
    for answer in found[:MAX_SHOWN]:
        out.print(f"\n{shown(str(answer.get('question')))}: {shown(str(answer.get('verdict')))}.", markup=False, highlight=False)
    if len(found) > MAX_SHOWN:
        out.print(f"\nThe report has {len(found) - MAX_SHOWN} more.")


def _answers(client: Client, campaign_id: str, clock: Clock) -> list[dict[str, Any]] | None:
    """Return the answers with more than one result. None if the report is not written in time."""
    deadline = clock.monotonic() + WAIT_S
    while True:
        try:
            content = client.get(f"campaigns/{campaign_id}/report.json")
        except ApiError as error:
            if error.http_status not in (_NOT_YET, _NO_REPORT):
                raise
            if error.http_status == _NO_REPORT:
                return []
            if clock.monotonic() >= deadline:
                return None
            clock.sleep(POLL_S)
            continue
        return [one for one in content.get("answers", ()) if one.get("measured", 0) > 1]  # reports of format 1 have no answers
