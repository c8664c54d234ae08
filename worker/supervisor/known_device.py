"""Compares what was measured of the device with what this worker measured of it last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from worker.hardware_tests.last import LastFigures, keep
from worker.job_log import JobLog
from worker.kinds.base import Derived


def remembered(derived: Derived, of_device: LastFigures, cache_dir: Path, job_log: JobLog) -> Derived:
    """Keep what was measured of the device, and return the result with a warning that says which figures have moved since last time."""
    try:
        since = keep(cache_dir, of_device)
    except OSError as error:
        job_log.add("warning", "system", f"the figures of this device could not be kept in the worker's cache folder: {error}")
        return derived
    if said := since.in_words():
        derived = replace(derived, warnings=(*derived.warnings, said))
    if derived.outcome is None:
        return derived
    detail = derived.outcome.detail | {"since_last_time": since.as_json()}
    return replace(derived, outcome=derived.outcome.model_copy(update={"detail": detail}))
