"""Says what the reports of the kind of work `generation` contain: language models, token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.reports.bundle import EndedJob, JobRecord
from orchestrator.reports.columns import Row, rounded
from orchestrator.reports.facts import CAPABILITY, DEVICE, PROCESSOR, Fact
from orchestrator.reports.generation.facts import SCORERS, SETTINGS, WORK, asked_of, work_of
from orchestrator.reports.generation.page import GenerationPage
from orchestrator.reports.generation.scores import cells_of_scores, scores_of
from orchestrator.reports.money import price_of
from orchestrator.reports.outcomes.work import AskedWork
from orchestrator.reports.runtimes import whole_number
from orchestrator.reports.sheets.base import OutcomeSheet, Page
from shared.figures import Figure
from shared.protocol.messages import Result
from shared.scorers.registry import FIGURES as QUALITY

MONEY_DIGITS = 9


class GenerationSheet(OutcomeSheet):
    """Fills the columns of tokens and of scores. `InferenceMs…` is one whole call of the plain pass."""

    columns: Mapping[str, str] = {
        "tokens_per_s": "TokensPerS",
        "ttft_ms": "TtftMsMedian",
        "ttft_p99_ms": "TtftMsP99",
        "tpot_ms": "TpotMsMedian",
        "itl_p99_ms": "ItlMsP99",
        "decode_tokens_per_s": "DecodeTokensPerS",
        "prefill_tokens_per_s": "PrefillTokensPerS",
        "load_peak_mb": "PeakLoadRamUsage",
        "generation_peak_mb": "PeakInferenceRamUsage",
        "rouge1": "Rouge1",
        "rouge2": "Rouge2",
        "rougeL": "RougeL",
        "rougeLsum": "RougeLsum",
        "found_percent": "FoundPercent",
        "exact_match_percent": "ExactMatchPercent",
        "right_percent": "RightPercent",
        "valid_json_percent": "ValidJsonPercent",
    }

    must_be_equal: tuple[Fact, ...] = (WORK, *SETTINGS, CAPABILITY, DEVICE, PROCESSOR)
    worth_a_warning: tuple[Fact, ...] = (*OutcomeSheet.worth_a_warning, SCORERS)

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.figures = {**self.figures, **QUALITY}  # a single repeat has no quality, so no test compares it

    def steadiness(self, result: Result) -> str:
        outcome = self.outcome(result)
        return str(outcome.detail.get("steadiness", "")) if outcome is not None else ""

    def scores(self, result: Result) -> Sequence[Figure]:
        outcome = self.outcome(result)
        return scores_of(outcome) if outcome is not None else ()

    def work_of(self, job: JobRecord) -> AskedWork:
        return work_of(job)

    def asked(self, job: JobRecord) -> tuple[str, str]:
        return job.name, asked_of(job)

    def page(self, labels: Mapping[str, str], varied: Sequence[str]) -> Page:
        return GenerationPage(self.service_type, self.headline, labels, varied)

    def cells(self, job: EndedJob, result: Result) -> Row:
        row = super().cells(job, result)
        outcome = self.outcome(result)
        if outcome is None:
            return row
        row |= cells_of_scores(outcome)
        shape = outcome.detail.get("shape")
        if isinstance(shape, Mapping):
            row |= {"InputTokens": whole_number(shape.get("input_tokens")), "OutputTokens": whole_number(shape.get("output_tokens"))}
        price, speed = price_of(result.device), outcome.figure("tokens_per_s")
        if price is not None and speed is not None and (cost := price.of_1000(speed.value)) is not None:
            row["CostPer1MTokens"] = rounded(cost * 1_000, MONEY_DIGITS)
        return row
