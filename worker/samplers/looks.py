"""Writes and reads the samples of one attempt, while they are in the worker's own folder.

`<path>.rows` holds the samples as native doubles, one row for each: the time, 1 for a gap before it, and one value for each column, which
is NaN for null. `<path>.facts` holds lines of JSON: first the columns, then what happens to them, at last how sampling ended. The samples
are on disk some seconds after they were taken (20 samples), so that a process that dies loses no more than that.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from shared.columns import Column
from shared.energy import MAX_GAP_S

LATE = 0.5  # a share of a period: a later sample is a gap
FLUSH_ROWS = 20  # two seconds at 10 Hz
HEAD = 2  # the time and the gap
DIED = "the process that samples ended before the measurement"


def can_be_thinned(period_s: float) -> bool:
    """Return whether an energy can still be computed when every second sample is removed, also if one of the others is late."""
    return 2 * period_s * (1 + LATE) < MAX_GAP_S


class LooksFile:
    """Writes samples. At `max_rows` rows, every second one is removed, as long as the others are then close enough for an energy.

    So its memory stays bounded. Its file grows with a row every 1.5 s or so when no more can be removed.

    Args:
        max_rows: an even number, so that the newest row is among the removed ones.
        period_s: the time between two samples; it doubles each time when samples are removed.

    Raises:
        OSError: The disk is full.
    """

    def __init__(self, path: Path, columns: Sequence[Column], facts: Mapping[str, Any], max_rows: int, period_s: float) -> None:
        self._rows_path, self._facts_path = path.with_suffix(".rows"), path.with_suffix(".facts")
        self._width = HEAD + len(columns)
        self._max_rows = max_rows
        self.period_s = period_s
        self.count = 0  # the number of rows
        self._rows = array("d")  # all rows; those that are not in the file yet, if no more rows can be removed
        self._unwritten = 0  # the place of the first value that is not in the file yet
        self._rows_path.write_bytes(b"")
        self.note(columns=[asdict(column) for column in columns], period_s=period_s, **facts)

    def note(self, **facts: Any) -> None:
        with self._facts_path.open("a") as file:
            file.write(json.dumps(facts) + "\n")

    def add(self, at: float, values: Sequence[float | None], *, gap: bool) -> bool:
        """Add one sample. Return whether every second sample was removed, after which only half as many are wanted."""
        self._rows.extend((at, float(gap)))
        self._rows.extend(math.nan if value is None else value for value in values)
        self.count += 1
        if self.count >= self._max_rows and can_be_thinned(self.period_s):
            self._thin()
            return True
        if len(self._rows) - self._unwritten >= FLUSH_ROWS * self._width:
            self.flush()
        return False

    def flush(self) -> None:
        with self._rows_path.open("ab") as file:
            file.write(self._rows[self._unwritten :].tobytes())
        if not can_be_thinned(self.period_s):
            self._rows = array("d")
        self._unwritten = len(self._rows)

    def _thin(self) -> None:
        kept = array("d")
        for begin in range(0, len(self._rows), 2 * self._width):
            row = self._rows[begin : begin + self._width]
            if begin and self._rows[begin - self._width + 1]:  # the removed row before it came after a gap
                row[1] = 1.0
            kept.extend(row)
        self._rows = kept
        temporary = self._rows_path.with_suffix(".thinned")
        temporary.write_bytes(kept.tobytes())
        temporary.replace(self._rows_path)
        self._unwritten = len(kept)
        self.count = len(kept) // self._width
        self.period_s *= 2
        self.note(period_s=self.period_s)


@dataclass
class Looks:
    """Holds the samples of one attempt.

    Attributes:
        times: monotonic seconds.
        values: of each column, NaN for null.
        absent: why a sampler had nothing to read, by its name.
        cpu_s: the CPU time of sampling. None if the process died.
    """

    columns: list[Column] = field(default_factory=list)
    times: array[float] = field(default_factory=lambda: array("d"))
    gaps: array[float] = field(default_factory=lambda: array("d"))
    values: list[array[float]] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    period_s: float = 0.1
    started_at: float = 0.0
    cpu_s: float | None = None
    ended: str = ""

    def of(self, *, role: str, feeds: str) -> Iterator[tuple[Column, array[float]]]:
        """Yield the columns with a role that belong to something, with their values."""
        for column, values in zip(self.columns, self.values, strict=True):
            if column.role == role and column.feeds == feeds:
                yield column, values

    def thinned(self) -> Looks:
        """Return every second sample. A gap before a removed one is a gap before the next one."""
        count, gaps = len(self.times), self.gaps
        return replace(
            self,
            times=self.times[::2],
            gaps=array("d", (max(gaps[place], gaps[place - 1] if place else 0.0) for place in range(0, count, 2))),
            values=[values[::2] for values in self.values],
            period_s=2 * self.period_s,
        )


def read_looks(path: Path) -> Looks:
    """Return what a process has sampled. If it died, that is what had reached the disk. Remove its files."""
    rows_path, facts_path = path.with_suffix(".rows"), path.with_suffix(".facts")
    looks = Looks(ended=DIED)
    missing: dict[str, str] = {}
    try:
        for line in facts_path.read_text().splitlines():
            facts = json.loads(line)
            looks.columns = [Column(**column) for column in facts.get("columns", [])] or looks.columns
            looks.absent |= facts.get("absent", {})
            looks.period_s, looks.started_at = facts.get("period_s", looks.period_s), facts.get("started_at", looks.started_at)
            looks.cpu_s, looks.ended = facts.get("cpu_s", looks.cpu_s), facts.get("ended", looks.ended)
            missing = facts.get("missing", missing)
        rows = rows_path.read_bytes()
    except (OSError, ValueError):  # it died before, or while, it wrote the columns; ValueError is half a line
        return Looks(ended=looks.ended)
    finally:
        for file in (rows_path, facts_path):
            file.unlink(missing_ok=True)
    looks.columns = [replace(column, missing=missing.get(column.name, column.missing)) for column in looks.columns]
    width = HEAD + len(looks.columns)
    flat = array("d")
    flat.frombytes(rows[: len(rows) // (8 * width) * 8 * width])  # the last row of a process that died may be cut off
    looks.times, looks.gaps = flat[0::width], flat[1::width]
    looks.values = [flat[HEAD + place :: width] for place in range(len(looks.columns))]
    return looks
