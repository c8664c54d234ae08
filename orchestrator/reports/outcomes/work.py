"""Decides which jobs of a kind of work without rules of its own did the same work: those that asked for the same, of the same inputs."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.reports.bundle import JobRecord
from shared.inputs import INPUTS_SHA256

# How often and how long something is measured is no part of what is measured.
HOW_LONG = frozenset({"repeats", "warmup", "stop", "timeout_s"})


@dataclass(frozen=True, slots=True)
class AskedWork:
    """Describes the work of a job by what it asked for. `text` is JSON; it is empty if this version cannot read the job."""

    text: str

    def may_be_ranked(self) -> bool:
        return bool(self.text)


def asked_work(job: JobRecord, but: Collection[str] = ()) -> AskedWork:
    """Return the work of a job.

    Args:
        but: what is no part of the work, besides how often and how long every kind of work is measured.
    """
    if job.unreadable:
        return AskedWork("")
    asked = {name: value for name, value in job.workload.model_dump(mode="json").items() if name not in {*HOW_LONG, *but}}
    sha256 = job.result.model_sha256 if job.result is not None else None
    further = job.result.runtime.get(INPUTS_SHA256) if job.result is not None else None
    known = {"content": sha256, INPUTS_SHA256: further}
    return AskedWork(json.dumps(asked | {name: one for name, one in known.items() if one}, sort_keys=True))
