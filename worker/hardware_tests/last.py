"""Keeps the last figures of this device in the worker's cache folder, so that the worker can show them without measuring again."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worker.durable import write_durably

log = logging.getLogger(__name__)

FORMAT = 1
MOVED = 0.05  # a figure that differs by more than this share is a finding
MOST_SAID = 8  # the most figures in a sentence; `since_last_time` in the result has all
TRIAD, BANDWIDTH, TRIAD_BY = "triad_", "bandwidth", "triad_by"  # how its figures begin, their test, and the fact that says how it ran
RESTLESS = ("_burst_", "_median_", "thread_wakeup", "ufunc_call")
# 1: `format`, `capability`, `device` (a GPU's id, or empty), `measured_at` (ISO 8601), `figures` (name → {unit, value, missing}),
#    `facts` (test → facts). A figure also has `measured_at`, and `known` (value, measured_at) if it has no value and had one before; files
#    of earlier versions do not have these two.


@dataclass(frozen=True)
class LastFigures:
    """Holds what was measured last under one capability. `device` is the id of the GPU that was measured, and empty for a CPU."""

    capability: str
    device: str
    measured_at: str
    figures: dict[str, dict[str, Any]]
    facts: dict[str, dict[str, Any]]

    def value(self, name: str) -> float | None:
        return _number(self.figures.get(name, {}).get("value"))

    def known(self, name: str) -> tuple[float, str] | None:
        """Return the last value that was measured, and when. A measurement that gave no value does not count."""
        figure = self.figures.get(name, {})
        earlier = figure.get("known") or {}
        for found in (figure, earlier):
            if (value := _number(found.get("value"))) is not None:
                return value, str(found.get("measured_at") or self.measured_at)
        return None

    def cores(self, test: str) -> int | None:
        """Return how many cores this test of a CPU could use, or None if its facts do not say it."""
        facts = self.facts.get(test, {})
        threads = [int(count) for count in facts.get("by_threads") or {} if count.isdigit()]
        usable = facts.get("usable_cores", max(threads, default=None))
        return usable if isinstance(usable, int) else None


@dataclass(frozen=True)
class Moved:
    """Says that a figure differs from the one before, of `measured_at`, by more than `MOVED`. `change` is a fraction of the one before."""

    figure: str
    before: float
    now: float
    change: float
    measured_at: str = ""


@dataclass(frozen=True)
class Since:
    """Compares the figures of a device with those that were measured last.

    Attributes:
        measured_at: when something of the device was measured last; empty at the first time. A figure may have been measured earlier.
        cores: how many cores the tests could use then and now, if that differs: then the device itself may be as it was.
    """

    measured_at: str = ""
    moved: tuple[Moved, ...] = ()
    cores: tuple[int, int] | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def in_words(self) -> str:
        """Return one sentence, or an empty text if nothing has moved."""
        if not self.moved:
            return ""
        listed = [
            f"{one.figure} {one.before:.4g} → {one.now:.4g} ({100 * one.change:+.1f} %{self._since(one)})" for one in self.moved[:MOST_SAID]
        ]
        more = f" and {len(self.moved) - MOST_SAID} more" if len(self.moved) > MOST_SAID else ""
        why = f"; the tests could use {_of_cores(self.cores[0])} then, and {_of_cores(self.cores[1])} now" if self.cores else ""
        return f"figures that have moved by more than {100 * MOVED:g} % since {self.measured_at}: {', '.join(listed)}{more}{why}"

    def _since(self, one: Moved) -> str:
        return f" since {one.measured_at}" if one.measured_at not in ("", self.measured_at) else ""


def compare(before: LastFigures | None, now: LastFigures) -> Since:
    """Return which figures have moved.

    Single fast calls and the waking of threads always move, so they do not count. Neither does a triad that is computed in another way
    than before: that is no change of the device.
    """
    if before is None:
        return Since()
    ways = [one.facts.get(BANDWIDTH, {}).get(TRIAD_BY) for one in (before, now)]
    moved = []
    for name in now.figures:
        if name.startswith(TRIAD) and ways[0] != ways[1]:
            continue
        (old, measured_at), new = before.known(name) or (0.0, ""), now.value(name)
        if old and new and not any(word in name for word in RESTLESS) and abs(new / old - 1) > MOVED:
            moved.append(Moved(name, old, new, new / old - 1, measured_at))
    counts = [(before.cores(test), now.cores(test)) for test in now.facts]
    cores = next(((then, at_present) for then, at_present in counts if then and at_present and then != at_present), None)
    return Since(before.measured_at, tuple(moved), cores)


def keep(cache_dir: Path, last: LastFigures) -> Since:
    """Write the figures, and return how they differ from those before. Figures of other tests of the same device stay.

    A figure that could not be measured this time is null from now on, and keeps its last value beside it for the next comparison.

    Raises:
        OSError: The cache folder cannot be written.
    """
    before = next((kept for kept in read(cache_dir) if (kept.capability, kept.device) == (last.capability, last.device)), None)
    figures = (before.figures if before else {}) | {
        name: _kept(name, figure, before, last.measured_at) for name, figure in last.figures.items()
    }
    facts = (before.facts if before else {}) | last.facts
    content = {"format": FORMAT, **vars(last), "figures": figures, "facts": facts}
    path = _folder(cache_dir) / f"{last.capability}{'-' if last.device else ''}{_plain(last.device)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps(content, allow_nan=False).encode())
    return compare(before, last)


def _kept(name: str, figure: dict[str, Any], before: LastFigures | None, measured_at: str) -> dict[str, Any]:
    kept = figure | {"measured_at": measured_at}
    if figure.get("value") is None and before is not None and (known := before.known(name)):
        kept["known"] = {"value": known[0], "measured_at": known[1]}
    return kept


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _of_cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def read(cache_dir: Path) -> list[LastFigures]:
    """Return what was measured last under each capability, on each device. A file that cannot be read is logged and left out."""
    found = []
    for path in sorted(_folder(cache_dir).glob("*.json")):
        try:
            content = json.loads(path.read_text())
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']} is not {FORMAT}")
            found.append(LastFigures(**{name: content[name] for name in LastFigures.__dataclass_fields__}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s does not hold the figures of this device (%s: %s); measure it again", path, type(error).__name__, error)
    return found


def _folder(cache_dir: Path) -> Path:
    return cache_dir / "hardware"


def _plain(device: str) -> str:
    return "".join(character if character.isalnum() or character == "-" else "_" for character in device)
