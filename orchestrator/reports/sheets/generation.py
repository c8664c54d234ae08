"""Says what the reports of the kind of work `generation` contain: language models, token by token."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.reports.bundle import EndedJob
from orchestrator.reports.columns import Row, rounded
from orchestrator.reports.money import price_of
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
