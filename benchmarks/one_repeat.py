"""Measures one repeat of a model in a fresh process, with the same supervisor that a worker uses."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.clock import SystemClock
from shared.engine_options import EngineOptions
from shared.ids import job_id, new_campaign_id
from shared.inputs import ModelRef
from shared.protocol.messages import Assignment
from shared.repetition import Warmup
from shared.workloads import inference_workload
from worker.models import ModelStore
from worker.supervisor import Supervisor, TelemetryOptions

WARMUP = Warmup(min_calls=5, min_s=0.0)


@contextmanager
def supervising(folder: Path, *, spawn: bool, telemetry: TelemetryOptions = TelemetryOptions(hz=0)) -> Iterator[Supervisor]:  # noqa: B008
    """Start a supervisor. With `spawn`, each repeat runs in a new interpreter; otherwise in a fork of this supervisor's zygote."""
    models = ModelStore(folder, host=None, token=None, max_bytes=2**33)
    supervisor = Supervisor(cache_dir=folder, models=models, clock=SystemClock(), spawn=spawn, telemetry=telemetry)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.close()


def series_ms(supervisor: Supervisor, model: Path, inferences: int) -> NDArray[np.float64]:
    """Return the timings of one repeat on one thread, in milliseconds, in order of time."""
    campaign = new_campaign_id(datetime.now(UTC))
    work = inference_workload(
        model=ModelRef(source=model.as_uri(), name=model.name),
        inferences=inferences,
        repeats=1,
        warmup=WARMUP,
        options=EngineOptions(threads=1),
    )
    assignment = Assignment(job_id=job_id(campaign, 1), campaign_id=campaign, attempt=1, capability="cpu.onnx", workload=work)
    outcome = supervisor.run(assignment, lambda _stage, _progress: None)
    if outcome.samples_npz is None:
        raise SystemExit(f"the job ended as {outcome.status}: {outcome.error}")
    with np.load(io.BytesIO(outcome.samples_npz), allow_pickle=False) as samples:
        return np.asarray(samples["repeat_0_inference_ns"], dtype=np.float64) / 1e6


def median_ms(supervisor: Supervisor, model: Path, inferences: int) -> float:
    """Return the median of one repeat, in milliseconds."""
    return float(np.median(series_ms(supervisor, model, inferences)))
