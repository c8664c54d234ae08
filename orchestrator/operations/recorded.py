"""Defines the outcome of recording a batch of reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.domain.buckets import Observation
from shared.ids import AttemptKey
from shared.protocol.messages import AttemptLog, Report, Result


@dataclass
class Recorded:
    """Holds the outcome of recording a batch."""

    answers: list[tuple[str, str, int, str]] = field(default_factory=list)  # worker, job, attempt, verdict
    ended_jobs: list[str] = field(default_factory=list)
    ended_campaigns: list[str] = field(default_factory=list)
    more_of: list[str] = field(default_factory=list)  # campaigns with a cancelled job whose partial result has come
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # results to insert, by job
    figures: list[dict[str, Any]] = field(default_factory=list)  # figures to insert
    kept: list[Result] = field(default_factory=list)  # results whose files are wanted
    again: set[AttemptKey] = field(default_factory=set)  # attempts among `kept` whose result was recorded before
    dropped: list[Result] = field(default_factory=list)  # unwanted results, whose uploads are deleted
    logs: list[Result | AttemptLog] = field(default_factory=list)  # the logs of attempts without a recorded result
    varied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # the paths at which the jobs of a campaign differ
    observations: list[Observation] = field(default_factory=list)  # for the histograms
    refused: list[tuple[Report, str]] = field(default_factory=list)  # reports about another worker's attempt, and the reason
    objections: list[str] = field(default_factory=list)  # for each report of the batch, why it changed nothing; empty if it counted
