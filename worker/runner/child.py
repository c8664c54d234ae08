"""Contains the code of the measured process that every kind of work needs. It hands over to the kind, and writes what the kind recorded."""

from __future__ import annotations

import faulthandler
import gc
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.errors import JobError
from shared.series import Record
from worker.kinds.registry import resolve
from worker.measured.request import Announce, RunRequest
from worker.runner.record_file import NO_ROOM, Unwritten, write_record


def run_here(request: RunRequest) -> None:
    """Run one request in this process.

    Its stdout is the pipe for phase names. What the engine prints goes to stderr, which the guard captures.
    """
    phases = os.dup(1)
    os.dup2(2, 1)
    faulthandler.enable()  # a crash in native code names the Python line that led to it
    _refuse_core_dump()
    gc.enable()

    def announce(phase: str) -> None:
        os.write(phases, phase.encode() + b"\n")

    try:
        measure(request, announce)
    except Unwritten as error:
        os.write(2, f"the record could not be written: {error}\n".encode(errors="replace"))
        os._exit(NO_ROOM)


def _refuse_core_dump() -> None:
    """Turn core dumps off: a process that crashes with a model of 10 GB would leave a file of 10 GB."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def measure(request: RunRequest, announce: Announce) -> None:
    """Run one request and write its record. An error of the work becomes part of the record.

    Any other error is a defect in our code or in a plug-in. It is not caught, so the process ends with a traceback and an exit code.

    Args:
        announce: Called with the name of each phase before it begins, never during one.
    """
    path = Path(request.record_path)
    try:
        kind = resolve(request.kind)()
        record = kind.run(request, announce)
    except JobError as error:
        write_record(path, Record(error_kind=error.kind, error=error.detail))
        return
    # What was measured still lives, so its threads are counted here.
    write_record(path, replace(record, facts=record.facts | _of_this_process(record.facts)))


def _of_this_process(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that every record has: versions, cores and threads beside what the kind reports, and the CPU time so far."""
    process: dict[str, Any] = {}
    if hasattr(os, "sched_getaffinity"):
        process["cpu_affinity"] = sorted(os.sched_getaffinity(0))
    tasks = Path("/proc/self/task")
    if tasks.exists():
        process["process_threads"] = len(list(tasks.iterdir()))
    software = {"python": platform.python_version(), "implementation": sys.implementation.name}
    return {
        "runtime": facts.get("runtime", {}) | process,
        "software": software | facts.get("software", {}),
        "process_cpu_s": time.process_time(),
    }
