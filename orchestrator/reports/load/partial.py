"""Says what is missing from a load that did not run to its end: it was cancelled or failed, or client processes died."""

from __future__ import annotations

from collections.abc import Mapping

from shared.figures import Outcome

MAX_SAID = 3  # reasons in one sentence


def partial_said(outcome: Outcome | None) -> str:
    """Return a warning, or an empty text if the load ran as it was asked for."""
    detail = outcome.detail if outcome is not None else {}
    because, processes = detail.get("partial_because"), detail.get("client_processes")
    said = [because] if isinstance(because, str) and because else []
    for key, words in (("died", "client processes died, so that the load was lower"), ("gave_up", "the load ended early")):
        reasons = processes.get(key) if isinstance(processes, Mapping) else None
        if isinstance(reasons, list) and reasons:
            more = f" and {len(reasons) - MAX_SAID} more" if len(reasons) > MAX_SAID else ""
            said.append(f"{words}: {'; '.join(map(str, reasons[:MAX_SAID]))}{more}")
    return f"the result is partial: {'. '.join(said)}" if said else ""
