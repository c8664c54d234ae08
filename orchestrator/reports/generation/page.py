"""Makes the report of language models: every figure of every job, and how good the answers to a task are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.reports.bundle import CampaignBundle, JobRecord
from orchestrator.reports.generation.scores import SCORES, scores_of
from orchestrator.reports.outcomes.page import OutcomePage
from orchestrator.reports.page_parts import MAX_LISTED
from orchestrator.reports.page_texts import figure_text, interval_text
from shared.figures import Outcome
from shared.ids import number_of
from shared.jobs import JobStatus
from shared.markdown import cell
from shared.written_texts import NAME

_NEXT_SECTION = "\n\n## How it was measured"
RANDOM = "random_weights"  # a key of what the runtime reports
_METHOD = (
    "The answers of the **plain pass of the first repeat** are kept and judged. Each answer ends where the model ends it, with a stop "
    "string of the task, or with `max_tokens`.",
    "A **score** is the mean over the documents, with a 95 % interval over them. Documents that a scorer cannot judge enter no mean.",
)


class GenerationPage(OutcomePage):
    """Adds the quality of the answers to the page of outcomes."""

    def __init__(self, kind: str, headline: str, labels: Mapping[str, str], varied: Sequence[str]) -> None:
        super().__init__(kind, headline, labels, varied)
        self._quality: list[dict[str, Any]] = []
        self._quality_total = 0

    def add(self, job: JobRecord) -> None:
        super().add(job)
        outcome = job.result.outcome if job.result is not None and job.status is JobStatus.COMPLETE else None
        if outcome is None or job.result is None or "task" not in outcome.detail:
            return
        self.method = (*OutcomePage.method, *_METHOD)
        self._quality_total += 1
        if len(self._quality) < MAX_LISTED:
            one = self.jobs[-1]
            said = {"job_id": one.job_id, "where": one.where, "parameters": one.parameters}
            self._quality.append(said | quality_of(outcome) | {RANDOM: bool(job.result.runtime.get(RANDOM))})

    def content(self, bundle: CampaignBundle, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return {**super().content(bundle, pictures), "quality": self._quality, "quality_total": self._quality_total}

    def markdown(self, content: dict[str, Any]) -> str:
        before, section, after = super().markdown(content).partition(_NEXT_SECTION)
        return before + _quality_text(content) + section + after


def quality_of(outcome: Outcome) -> dict[str, Any]:
    """Return what the report says of the answers of one job."""
    detail = outcome.detail
    scores: Mapping[str, Any] = detail.get(SCORES) or {}
    return {
        "task": detail["task"],
        "task_version": detail.get("task_version"),
        "task_package": detail.get("task_package"),
        "documents": detail.get("documents"),
        "output_tokens": detail.get("output_tokens"),
        "finish_reasons": detail.get("finish_reasons") or {},
        "differing_documents": detail.get("differing_documents") or 0,
        "scorers": dict(scores.get("scorers", {})),
        "scores": {
            one.name: {
                "value": one.value,
                "interval": [one.interval.low, one.interval.high] if one.interval else None,
                "unit": one.unit,
                "n": one.n,
                "missing": one.missing or None,
            }
            for one in scores_of(outcome)
        },
    }


def _quality_text(content: dict[str, Any]) -> str:
    if not content["quality"]:
        return ""
    lines = ["\n\n## How good the answers are", ""]
    if any(one[RANDOM] for one in content["quality"]):
        lines += ["**The weights of the model are random: the speed is real, and the quality means nothing.**", ""]
    lines += ["| job | device · runtime | score | mean | 95 % interval | documents |", "| --- | --- | --- | ---: | --- | ---: |"]
    for one in content["quality"]:
        number = number_of(one["job_id"])
        for name, score in one["scores"].items():
            mean = f"{figure_text(score['value'])} {cell(score['unit'])}" if score["value"] is not None else "none"
            judged = f"{score['n']} of {one['documents']}"
            lines.append(f"| {number} | {cell(one['where'])} | {cell(name)} | {mean} | {interval_text(score['interval'])} | {judged} |")
    if content["quality_total"] > len(content["quality"]):
        lines.append(f"\n{content['quality_total'] - len(content['quality'])} more jobs are in `summary.json`.")
    lines.append("")
    lines += dict.fromkeys(said for one in content["quality"] for said in _said(one))
    return "\n".join([*lines, f"- `{NAME}` has each answer with its scores."])


def _said(one: Mapping[str, Any]) -> list[str]:
    """Return what should be known of the answers of one job, as items of a list."""
    job = f"Job {number_of(one['job_id'])}"
    package = f" of the package {cell(one['task_package'])}" if one["task_package"] else ""
    ended = ", ".join(f"{count} by {_ENDS.get(reason, cell(reason))}" for reason, count in one["finish_reasons"].items())
    said = [f"- {job}: task `{cell(one['task'])}` version {cell(str(one['task_version']))}{package}; the answers ended: {ended}."]
    if one["differing_documents"]:
        said.append(f"- {job}: the repeats wrote different answers to {one['differing_documents']} of {one['documents']} documents.")
    for name, scorer in one["scorers"].items():
        brought = f" of the package {cell(scorer['package'])}" if scorer.get("package") else ""
        settings = "; ".join(f"{cell(key)}: {cell(str(value), 300)}" for key, value in (scorer.get("settings") or {}).items())
        if scorer.get("version"):
            said.append(f"- Scorer `{cell(name)}` version {cell(str(scorer['version']))}{brought}{f' ({settings})' if settings else ''}.")
        said += [
            f"- {job}: {count} of {one['documents']} documents are unscored by `{cell(name)}`: {cell(why, 400)}."
            for why, count in scorer.get("unscored", {}).items()
        ]
    return said


_ENDS = {"stop": "the model", "stop_string": "a stop string", "length": "`max_tokens`"}
