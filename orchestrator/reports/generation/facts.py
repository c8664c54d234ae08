"""Defines the facts that two jobs of language models must share before they are compared.

Each setting that changes what a model reads or writes is a fact of its own, so that a comparison can name it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.facts import Fact, Read
from orchestrator.reports.outcomes.work import AskedWork, asked_work

NONE = "none"
_DECODING = ("temperature", "top_k", "top_p", "attention")
_TASK = {
    "name": "the task",
    "version": "the version of the task",
    "prompt": "the template of the prompt",
    "max_tokens": "the most tokens of an answer",
    "stop": "the strings that end an answer",
    "documents": "how many documents there are",
    "words": "how many words a generated document has",
    "depth": "where the fact stands in a generated document",
}


def work_of(job: JobRecord) -> AskedWork:
    """Return what a job asked for. How often and how long it was measured is no part of it, and neither is who judges the answers."""
    return _without(asked_work(job, but=("loads",)), ())


def asked_of(job: JobRecord) -> str:
    """Return what a job asked for, without the settings that are facts of their own. Jobs with equal texts may be paired."""
    return _without(asked_work(job, but=("loads",)), (*_TASK, "decoding")).text


def _without(asked: AskedWork, further: tuple[str, ...]) -> AskedWork:
    if not asked.may_be_ranked():
        return asked
    content = json.loads(asked.text)
    content.get("prompts", {}).pop("requests", None)
    if isinstance(content.get("task"), dict):
        content["task"] = {name: value for name, value in content["task"].items() if name not in ("evaluate", *further)}
    if "decoding" in further:
        content.pop("decoding", None)
    return AskedWork(json.dumps(content, sort_keys=True))


def _setting(section: str, name: str) -> Read:
    def read(job: JobRecord, _work: Any) -> str | None:
        if job.unreadable:
            return None
        found = job.workload.spec.model_dump(mode="json").get(section)
        value = found.get(name) if isinstance(found, Mapping) else None
        return NONE if value is None else value if isinstance(value, str) else json.dumps(value)

    return read


def _scorers(job: JobRecord, _work: Any) -> str | None:
    outcome = job.result.outcome if job.result is not None else None
    scores = outcome.detail.get("scores") if outcome is not None else None
    scorers = scores.get("scorers") if isinstance(scores, Mapping) else None
    if not isinstance(scorers, Mapping):
        return None
    return json.dumps({name: [one.get("version"), one.get("settings")] for name, one in scorers.items()}, sort_keys=True)


SETTINGS: tuple[Fact, ...] = (
    *(Fact(f"decoding.{name}", f"`decoding.{name}` of the recipe", _setting("decoding", name)) for name in _DECODING),
    *(Fact(f"task.{name}", meaning, _setting("task", name)) for name, meaning in _TASK.items()),
)
WORK = Fact("work", "everything else that was asked for, with the SHA-256 of the inputs", lambda job, _work: asked_of(job) or None)
SCORERS = Fact("scorers", "the scorers of the answers, with their versions and settings", _scorers)
