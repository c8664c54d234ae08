"""Contains the code of the process that samples beside a measurement.

It opens the samplers, reads them on an absolute schedule, writes the samples to a file, and ends when its stdin is closed: the guard closes
it, and its end closes it, too. Times are monotonic, so a wall clock that jumps changes nothing.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from shared.clock import Clock, SystemClock
from shared.columns import Column
from worker.plug_ins import BrokenPlugIn
from worker.samplers.base import Sampler, Values, Vanished
from worker.samplers.looks import LATE, LooksFile
from worker.samplers.registry import SAMPLERS, make
from worker.samplers.request import SampleRequest

OPEN, OPEN_WITH_ENERGY = "open", "open with energy"  # what the process says when its samplers are open
MOST_OF_A_CORE = 0.004  # sampling that would take more CPU time is done less often
LONGEST_PERIOD_S = 1.0
TRIALS = 5  # readings from which the CPU time of one is known

Wait = Callable[[float], bool]  # waits for so many seconds, and returns whether to end


@dataclass
class _Opened:
    name: str
    sampler: Sampler
    columns: list[Column]
    every: int = 1  # how many samples from one reading to the next
    gone: bool = False


def sample_here(request: SampleRequest) -> None:
    """Sample in this process until stdin is closed. Its stdout is the pipe to the guard; what a library prints goes to stderr."""
    announcements = os.dup(1)
    os.dup2(2, 1)
    leave_the_measured_cores()
    ends = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ends,), daemon=True).start()

    def announce(what: str) -> None:
        os.write(announcements, what.encode() + b"\n")

    sample(request, SystemClock(), ends.wait, announce)


def _wait_for_the_end(ends: threading.Event) -> None:
    while os.read(0, 1):
        pass
    ends.set()


def leave_the_measured_cores() -> None:
    """Stay on one core: one that the measured processes may not use, or the last of theirs. Does nothing where there is only one."""
    if not hasattr(os, "sched_setaffinity"):
        return
    theirs = os.sched_getaffinity(0)
    others = set(range(os.cpu_count() or 1)) - theirs
    for choice in (others, {max(theirs)} if len(theirs) > 1 else set()):
        try:
            if choice:
                os.sched_setaffinity(0, {max(choice)})
                return
        except OSError:  # the cpuset of this container does not have it
            continue


def sample(request: SampleRequest, clock: Clock, wait: Wait, announce: Callable[[str], None]) -> None:
    """Sample until `wait` returns true."""
    begin_cpu = time.process_time()
    opened, absent = _open(request)
    period_s = _affordable(request.period_s, opened, clock)
    for one in opened:
        one.every = _every(SAMPLERS[one.name].period_s, period_s)
    columns = [replace(column, period_s=one.every * period_s) if one.every > 1 else column for one in opened for column in one.columns]
    facts = {"absent": absent, "started_at": clock.now().timestamp()}
    file = LooksFile(Path(request.path), columns, facts, request.max_rows, period_s)
    energy = any(column.role in ("energy", "power") and not column.missing for column in columns)
    announce(OPEN_WITH_ENERGY if energy else OPEN)
    _repeat(opened, file, clock, wait)
    file.flush()  # first, so that a sampler that does not close takes no samples away
    for one in opened:
        _close(one)
    file.note(cpu_s=time.process_time() - begin_cpu, ended="")


def _open(request: SampleRequest) -> tuple[list[_Opened], dict[str, str]]:
    """Open the samplers. Return those that have something to read, and why the others have not."""
    opened: list[_Opened] = []
    absent: dict[str, str] = {}
    place = request.place()
    for name in request.samplers:
        try:
            sampler = make(name, place)
            one = _Opened(name, sampler, list(sampler.open()))
            if why := _unfit(one, opened):
                absent[name] = f"it failed: {why}"
                _close(one)
            else:
                opened.append(one)
        except Vanished as gone:
            absent[name] = str(gone)
        except BrokenPlugIn as error:  # it cannot be imported
            absent[name] = error.detail
        except Exception as error:  # noqa: BLE001 - a defect in one sampler must not take the others away; the result says what it was
            absent[name] = f"it failed: {type(error).__name__}: {error}"
    return opened, absent


def _unfit(one: _Opened, others: list[_Opened]) -> str:
    """Return why the columns of a sampler cannot be written, or an empty text if they can."""
    if odd := [column for column in one.columns if not isinstance(column, Column)]:
        return f"`open` returned {odd[0]!r:.100}, which is no Column"
    owners = {column.name: other.name for other in others for column in other.columns}
    for column in one.columns:
        if column.name in owners:
            return f"its column {column.name} has the name of one of the sampler {owners[column.name]}; rename it"
        owners[column.name] = one.name
    return ""


def _affordable(period_s: float, opened: list[_Opened], clock: Clock) -> float:
    """Return the shortest period at which sampling takes at most `MOST_OF_A_CORE` and waits for its sources at most half of the time.

    So a slow device is sampled less often, and samples come on time although one source is slow.
    """
    costs, waits = [], []
    for _ in range(TRIALS):
        before, begin = time.process_time(), clock.monotonic()
        for one in opened:
            if SAMPLERS[one.name].period_s <= period_s:
                _read(one)
        costs.append(time.process_time() - before)
        waits.append(clock.monotonic() - begin)
    cost_s, wait_s = min(costs), min(waits)  # the first readings fill caches, and copy the memory that this process shares with the guard
    return min(max(period_s, cost_s / MOST_OF_A_CORE, 2 * wait_s), max(period_s, LONGEST_PERIOD_S))


def _every(wanted_s: float, period_s: float) -> int:
    """Return how many samples there are from one reading of a sampler to the next, if it is to be read about every `wanted_s`.

    It is a power of two. So the samples in which it was read are never among those that are removed when sampling is thinned.
    """
    return 2 ** max(0, round(math.log2(wanted_s / period_s))) if wanted_s > period_s else 1


def _repeat(opened: list[_Opened], file: LooksFile, clock: Clock, wait: Wait) -> None:
    told = _missing(opened)
    if told:
        file.note(missing=told)
    begin = clock.monotonic()
    slot, skipped = 0, False
    while True:
        period_s = file.period_s
        due = begin + slot * period_s
        if wait(max(0.0, due - clock.monotonic())):
            return
        at = clock.monotonic()
        values = [value for one in opened for value in (_read(one) if file.count % one.every == 0 else [None] * len(one.columns))]
        thinned = file.add(at, values, gap=skipped or at - due > LATE * period_s)
        missing = _missing(opened)
        if missing != told:
            told = missing
            file.note(missing=told)
        if thinned:
            # The sample of now was removed, and the one before it stays: the next one is due when two old periods have passed since then.
            begin, slot, skipped = due - period_s, 1, False
            for one in opened:
                one.every = max(1, one.every // 2)
            continue
        following = max(slot + 1, math.floor((clock.monotonic() - begin) / period_s) + 1)
        slot, skipped = following, following > slot + 1


def _read(one: _Opened) -> Values:
    """Return the values of a sampler. After it has vanished, they are None for good. A value that is not finite is None, too."""
    if one.gone:
        return [None] * len(one.columns)
    try:
        values = [None if value is None else float(value) for value in one.sampler.read()]
    except Vanished as gone:
        why = str(gone)
    except Exception as error:  # noqa: BLE001 - a defect in one sampler must not end the others; its columns say what it was
        why = f"its sampler failed: {type(error).__name__}: {error}"
    else:
        if len(values) == len(one.columns):
            return [value if value is not None and math.isfinite(value) else None for value in values]
        why = f"its sampler failed: it read {len(values)} values for {len(one.columns)} columns"
    _give_up(one, why)
    return [None] * len(one.columns)


def _give_up(one: _Opened, why: str) -> None:
    one.gone = True
    one.columns = [column if column.missing else replace(column, missing=why) for column in one.columns]
    _close(one)


def _close(one: _Opened) -> None:
    try:
        one.sampler.close()
    except Exception as error:  # noqa: BLE001 - its samples are taken, and those of the others are not to be lost
        sys.stderr.write(f"the sampler {one.name} did not close: {type(error).__name__}: {error}\n")


def _missing(opened: list[_Opened]) -> dict[str, str]:
    """Return why each column without values has none, for all columns that were not like that when they were opened."""
    found: dict[str, str] = {}
    for one in opened:
        if not one.gone:
            try:
                found |= one.sampler.missing()
            except Exception as error:  # noqa: BLE001 - as in `_read`
                _give_up(one, f"its sampler failed: {type(error).__name__}: {error}")
        found |= {column.name: column.missing for column in one.columns if column.missing}
    return found


def main(_arguments: list[str]) -> None:
    """Sample in a new interpreter, on systems where the guard does not fork. The request is the first line of stdin."""
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 65_536)
        if not data:
            return
        line += data
    request = json.loads(line)
    sample_here(SampleRequest(**{**request, "samplers": tuple(request["samplers"])}))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
