"""Provides fixtures for tests of the measured process: a real supervisor, real processes, and models with known behaviour."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
from numpy.typing import NDArray

from shared.clock import SystemClock
from shared.engine_options import EngineOptions
from shared.inputs import ModelRef
from shared.protocol.messages import Assignment
from shared.repetition import StopRule, Warmup
from shared.workloads import inference_workload
from worker.access import WHITE_BOX, Access
from worker.job_log import JobLog
from worker.measured.request import RunRequest
from worker.models import ModelStore
from worker.supervisor import Outcome, Supervisor, TelemetryOptions
from worker.supervisor.block import TURN_S
from worker.supervisor.supervisor import HOST_WAIT_S

LIGHT_MODELS = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
CAMPAIGN = "campaign-01m81k4kpq4wq6xn8q"
NO_WARMUP = Warmup(min_calls=0, min_s=0, max_s=0)
FEW_WARMUPS = Warmup(min_calls=2, min_s=0, max_s=5)
_numbers = itertools.count(1)


@contextlib.contextmanager
def supervisor(
    folder: Path,
    *,
    spawn: bool = False,
    lock: Path | None = None,
    host_wait_s: float = HOST_WAIT_S,
    turn_s: float = TURN_S,
    telemetry: TelemetryOptions = TelemetryOptions(),  # noqa: B008 - it is frozen
    access: Access = WHITE_BOX,
) -> Iterator[Supervisor]:
    """Start a supervisor with its own lock file, so that it does not wait for a worker that measures on this machine."""
    models = ModelStore(folder / "cache", host=None, token=None, max_bytes=2**30, allow_private=True)
    made = Supervisor(
        cache_dir=folder / "cache",
        models=models,
        clock=SystemClock(),
        lock_path=lock or folder / "lock",
        host_wait_s=host_wait_s,
        turn_s=turn_s,
        spawn=spawn,
        telemetry=telemetry,
        access=access,
    )
    made.start("fake")
    try:
        yield made
    finally:
        made.close()


def schedule(folder: Path, **behaviour: Any) -> Path:
    """Write a model for the fake engine (see `worker.engines.fake`)."""
    path = folder / f"schedule-{next(_numbers)}.json"
    path.write_text(json.dumps(behaviour))
    return path


def assignment(
    model: Path | str,
    *,
    capability: str = "fake",
    inferences: int = 5,
    repeats: int = 1,
    loads: int = 0,
    warmup: Warmup = FEW_WARMUPS,
    stop: StopRule | None = None,
    options: EngineOptions | None = None,
    timeout_s: float = 120,
    attempt: int = 1,
) -> Assignment:
    source = model.as_uri() if isinstance(model, Path) else model
    workload = inference_workload(
        model=ModelRef(source=source, name=source.rpartition("/")[2] or "model"),
        inferences=inferences,
        repeats=repeats,
        loads=loads,
        warmup=warmup,
        stop=stop,
        options=options or EngineOptions(),
        timeout_s=timeout_s,
    )
    job_id = f"{CAMPAIGN}-job-{next(_numbers)}"
    return Assignment(job_id=job_id, campaign_id=CAMPAIGN, attempt=attempt, capability=capability, workload=workload)


def request(model: Path, record: Path, capability: str = "fake", *, inferences: int, warmups: int = 0, **options: Any) -> RunRequest:
    """Return the request to one measured process: an inference, without the worker around it."""
    spec = {"inferences": inferences, "options": options}
    return RunRequest("inference", capability, spec, str(record), {"model": str(model)}, warmup_min_calls=warmups)


class Stages:
    """Records the calls of `on_stage`, and lets a test act when a stage begins."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float | None]] = []

    def __call__(self, stage: str, progress: float | None) -> None:
        self.seen.append((stage, progress))

    def names(self) -> list[str]:
        return [stage for stage, _ in self.seen]


def samples_of(outcome: Outcome) -> dict[str, NDArray[np.int64]]:
    assert outcome.samples_npz is not None
    with np.load(io.BytesIO(outcome.samples_npz), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def log_for(work: Assignment) -> JobLog:
    return JobLog((work.job_id, work.attempt), SystemClock(), "worker-under-test")


def lines_of(job_log: JobLog) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job_log.to_jsonl().splitlines()]


def descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def samples(pid: int) -> bool:
    """Return whether a child of a guard samples beside the measured processes. In a fork, its stdin is a pipe, and theirs is /dev/null."""
    with contextlib.suppress(OSError, psutil.Error):  # it has just ended
        command = " ".join(psutil.Process(pid).cmdline())
        stdin = Path(f"/proc/{pid}/fd/0").readlink()
        return "worker.samplers" in command or ("--once" not in command and str(stdin).startswith("pipe:"))
    return False


def is_gone(pid: int, within_s: float = 10) -> bool:
    """Wait for a process to end, and return whether it has. A zombie counts as ended."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        process.wait(within_s)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return process.status() == psutil.STATUS_ZOMBIE
    return True
