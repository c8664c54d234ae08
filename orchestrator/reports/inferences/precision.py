"""Says how near a job came to the precision that its stop rule asked for."""

from __future__ import annotations

from shared.measurements import Summary
from shared.repetition import StopRule

REACHED = "precision reached"  # the beginning of a worker's reason if the interval was narrow enough


def precision_said(summary: Summary, stop: StopRule | None) -> str:
    """Return in one sentence why the repeats ended, or an empty text for a job without a stop rule.

    If the precision was not reached, the sentence says how near the job came to it.
    """
    if stop is None and not summary.stopped_because:
        return ""
    if summary.stopped_because.startswith(REACHED):
        return summary.stopped_because
    if summary.precision_asked is not None:  # the worker's reason then says how near it came
        return f"precision not reached: {summary.stopped_because}"
    asked = f"; ±{stop.precision:.2%} was asked for" if stop else ""
    width = half_width(summary)
    came = "no interval can be given" if width is None else f"the 95 % interval is ±{width:.2%} of the median"
    why = f" ({summary.stopped_because})" if summary.stopped_because else ""
    return f"precision not reached: {came}{asked}{why}"


def half_width(summary: Summary) -> float | None:
    """Return half the width of the median's interval as a fraction of the median, or None without an interval."""
    interval, median = summary.inference.median_ci, summary.inference.median
    if interval is None or median <= 0:
        return None
    return (interval.high - interval.low) / 2 / median
