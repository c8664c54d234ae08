"""Implements a sampler whose values are all known in advance. Its schedule is the text of the file `fake-sampler.json` in `Place.root`.

    {"columns": [{"name": "x", "unit": "W", "role": "power", "feeds": "cpu"}], "values": [[1.0], [2.0], [null]]}

After the last line of values the list starts again.

- `clock_j`: a counter that grows by this many J each second, as a column `fake_energy_j`. It steps every `clock_step_s`.
- `vanish_after`: after this many readings the source is gone. `lose_after`: after this many, the first column is null for good.
- `slow_s`: how long each reading takes. `refuse`: there is nothing to read, for this reason.
- `crash_after`: after this many readings, the process ends at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from shared.clock import SystemClock
from shared.columns import Column
from worker.samplers.base import Lack, Place, Values, Vanished

FILE = "fake-sampler.json"


def lack(place: Place) -> Lack | None:
    if not (place.root / FILE).exists():
        return Lack(f"there is no {FILE}", f"write it into {place.root}")
    refused = json.loads((place.root / FILE).read_text()).get("refuse", "")
    return Lack(refused) if refused else None


class FakeSampler:
    """Follows a schedule, as described at the top of this module."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = SystemClock()
        self._schedule: dict[str, Any] = {}
        self._columns: list[Column] = []
        self._readings = 0
        self._begin = 0.0

    def open(self) -> Sequence[Column]:
        if (why := lack(self._place)) is not None:
            raise Vanished(str(why))
        self._schedule = json.loads((self._place.root / FILE).read_text())
        self._columns = [Column(source="fake", **one) for one in self._schedule.get("columns", [])]
        self._begin = self._clock.monotonic()
        if "clock_j" in self._schedule:
            self._columns.append(Column(name="fake_energy_j", unit="J", source="fake", role="energy", feeds="cpu"))
        return self._columns

    def read(self) -> Values:
        self._readings += 1
        if self._readings > self._schedule.get("crash_after", float("inf")):
            os._exit(3)
        if self._readings > self._schedule.get("vanish_after", float("inf")):
            raise Vanished("the fake source is gone")
        self._clock.sleep(self._schedule.get("slow_s", 0.0))
        rows = self._schedule.get("values") or [[]]
        values = list(rows[(self._readings - 1) % len(rows)])
        if self._readings > self._schedule.get("lose_after", float("inf")) and values:
            values[0] = None
        if "clock_j" in self._schedule:
            passed, step = self._clock.monotonic() - self._begin, self._schedule.get("clock_step_s", 0.0)
            values.append(self._schedule["clock_j"] * (passed // step * step if step else passed))
        return values

    def missing(self) -> Mapping[str, str]:
        lost = self._readings > self._schedule.get("lose_after", float("inf")) and self._columns
        return {self._columns[0].name: "the fake column is lost"} if lost else {}

    def close(self) -> None:
        """Do nothing, because nothing stays open."""
