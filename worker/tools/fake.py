"""Implements a tool that needs no program. No recipe asks for it: only tests use it.

Settings: `took_ms` lists how long the requests took, which are all sent one after the other. `tells` is `each` (records) or `steps`.
`early` says that it was told to end early, and
`stopped` is what it says when it gives up. `missing` says why it is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from shared.errors import EngineUnavailable, JobCancelled
from shared.request_records import RECORD, SUCCESS
from worker.tools.base import EndsEarly, News, ToolPhase, ToolRun

BEGAN_AT = 1_800_000_000.0


class FakeTool:
    """Tells what its settings say."""

    operations: tuple[str, ...] = ("ask",)

    def __init__(self, address: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        del address, secrets
        self._settings = settings

    def version(self) -> str:
        if missing := self._settings.get("missing"):
            raise EngineUnavailable(missing)
        return "fake 1.0"

    def run(self, phase: ToolPhase, on_news: News, ends_early: EndsEarly) -> ToolRun:
        if ends_early():
            raise JobCancelled("it was ended at once")
        took_ms: list[float] = list(self._settings.get("took_ms", [1.0]))
        on_news("it goes well")
        ends_ms = list(accumulate(took_ms))
        printed = {"requests per second": 1e3 * len(took_ms) / ends_ms[-1]}
        common: dict[str, Any] = {"command": "fake", "printed": printed, "began_at": BEGAN_AT, "stopped": self._settings.get("stopped", "")}
        common["ended_early"] = bool(self._settings.get("early"))
        if self._settings.get("tells", "each") == "steps":
            steps = tuple((latency, number) for number, latency in enumerate(sorted(took_ms), start=1))
            return ToolRun(**common, steps={self.operations[0]: steps}, window_s=ends_ms[-1] / 1e3)
        path = phase.folder / f"{phase.name}.records"
        with path.open("wb") as file:
            for took, end in zip(took_ms, ends_ms, strict=True):
                file.write(RECORD.pack(round((end - took) * 1e6 - phase.lead_s * 1e9), 0.0, float("nan"), took * 1e6, 0, 0, 0, SUCCESS))
        return ToolRun(**common, records=path)
