"""Says what the reports of the kind of work `generation` contain: language models, token by token."""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.reports.bundle import EndedJob, JobRecord
from orchestrator.reports.columns import Row, rounded
from orchestrator.reports.money import price_of
from orchestrator.reports.outcomes.work import AskedWork, asked_work
from orchestrator.reports.runtimes import whole_number
from orchestrator.reports.sheets.base import OutcomeSheet
from shared.protocol.messages import Result

MONEY_DIGITS = 9


class GenerationSheet(OutcomeSheet):
    """Fills the columns of tokens. `InferenceMs…` is one whole call of the plain pass."""

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
    }

    def steadiness(self, result: Result) -> str:
        outcome = self.outcome(result)
        return str(outcome.detail.get("steadiness", "")) if outcome is not None else ""

    def work_of(self, job: JobRecord) -> AskedWork:
        """Return what a job asked for. How many calls and further loads there were is no part of it."""
        asked = asked_work(job, but=("loads",))
        if not asked.may_be_ranked():
            return asked
        content = json.loads(asked.text)
        content.get("prompts", {}).pop("requests", None)
        return AskedWork(json.dumps(content, sort_keys=True))

    def cells(self, job: EndedJob, result: Result) -> Row:
        row = super().cells(job, result)
        outcome = self.outcome(result)
        if outcome is None:
            return row
        shape = outcome.detail.get("shape")
        if isinstance(shape, Mapping):
            row |= {"InputTokens": whole_number(shape.get("input_tokens")), "OutputTokens": whole_number(shape.get("output_tokens"))}
        price, speed = price_of(result.device), outcome.figure("tokens_per_s")
        if price is not None and speed is not None and (cost := price.of_1000(speed.value)) is not None:
            row["CostPer1MTokens"] = rounded(cost * 1_000, MONEY_DIGITS)
        return row
