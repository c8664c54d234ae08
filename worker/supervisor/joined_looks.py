"""Joins the samples that were taken in the turns of one job. The functions are pure."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from shared.columns import Column
from worker.samplers.looks import Looks, can_be_thinned
from worker.samplers.request import MAX_ROWS

OTHER_DEVICE = "in some turns of the job, this name belonged to another device"


def joined(turns: Sequence[Looks], max_rows: int = MAX_ROWS) -> Looks:
    """Return the samples of several turns as those of one time, with a gap before each turn after the first one with samples.

    A counter of energy goes on in each turn where it stood at the end of the turn before. So it does not contain the energy that the
    device took between the turns, which belongs to other jobs.

    Args:
        turns: in the order of time. The samples of a single turn are returned as they are.
        max_rows: while there are more samples, every second one of the most frequent turns is removed, if that leaves enough for an energy.
    """
    if len(turns) == 1:
        return turns[0]
    found = Looks(ended=_why_ended(turns))
    found.cpu_s = math.fsum(one.cpu_s for one in turns if one.cpu_s is not None)
    if any(one.cpu_s is None for one in turns):
        found.cpu_s = None
    for one in turns:
        found.absent |= one.absent
    sampled = [one for one in turns if one.columns and one.times]
    if not sampled:
        # The columns say why each of them has no values.
        found.columns = next((one.columns for one in turns if one.columns), [])
        found.values = [array("d") for _ in found.columns]
        return found
    sampled = _thinned(sampled, max_rows)
    found.started_at, found.period_s = sampled[0].started_at, max(one.period_s for one in sampled)
    for one in sampled:
        gaps = array("d", one.gaps)
        if found.times:
            gaps[0] = 1.0
        found.times.extend(one.times)
        found.gaps.extend(gaps)
    for name in dict.fromkeys(column.name for one in sampled for column in one.columns):
        column, values = _column(name, sampled)
        found.columns.append(column)
        found.values.append(values)
    return found


def _thinned(turns: list[Looks], max_rows: int) -> list[Looks]:
    """Return the turns with fewer samples. Each turn is thinned alone, so that it keeps the samples in which all samplers were read."""
    while sum(len(one.times) for one in turns) > max_rows:
        finest = min(one.period_s for one in turns)
        if not can_be_thinned(finest):
            break
        turns = [one.thinned() if one.period_s == finest else one for one in turns]
    return turns


def _column(name: str, turns: Sequence[Looks]) -> tuple[Column, array[float]]:
    """Return one column of all turns. It has nulls in a turn that did not have this column."""
    column: Column | None = None
    missing = ""
    values, last = array("d"), None
    for turn in turns:
        place = next((place for place, one in enumerate(turn.columns) if one.name == name), None)
        own = turn.columns[place] if place is not None else None
        column = column or own
        why = own.missing if own is not None else turn.absent.get(column.source, "") if column is not None else ""
        if own is not None and column is not None and own.device != column.device:
            place, why = None, OTHER_DEVICE
        missing = missing or why
        piece = turn.values[place] if place is not None else array("d", [math.nan] * len(turn.times))
        known = [value for value in piece if not math.isnan(value)]
        if known and column is not None and column.role == "energy":
            if last is not None:
                offset = last - known[0]
                piece = array("d", (value + offset for value in piece))
                known[-1] += offset
            last = known[-1]
        values.extend(piece)
    assert column is not None  # the name is one of theirs
    return replace(column, missing=missing), values


def _why_ended(turns: Sequence[Looks]) -> str:
    counts = Counter(one.ended for one in turns if one.ended)
    return "; ".join(f"{why} (in {count} of {len(turns)} turns of the job)" for why, count in counts.items())[:2_000]
