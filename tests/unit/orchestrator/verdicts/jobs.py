"""Makes jobs with given per-repeat medians, for the tests of verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from orchestrator.reports.bundle import JobRecord
from orchestrator.verdicts.figures import FIGURES, INFERENCE
from orchestrator.verdicts.sides import Side, side_of
from shared.engine_options import EngineOptions
from shared.inputs import ModelRef
from shared.jobs import JobStatus
from shared.measurements import Noise, RawRepeat
from shared.protocol.messages import Device
from shared.stats import summarise
from shared.workloads import inference_workload
from tests.unit.orchestrator.reports.bundles import record, result_of

A, B = "aa" * 32, "bb" * 32
QUIET = Noise(grade="quiet")
# These are the medians of six repeats with a spread of about 1 %.
SIX = (9.98, 10.05, 10.11, 9.91, 10.02, 10.07)


def bound(name: str = "x", shape: tuple[int, ...] = (1, 4), kind: str = "tensor(float)", values: str = "11" * 32) -> dict[str, Any]:
    return {"name": name, "type": kind, "shape": ["n", 4], "bound_shape": list(shape), "values": "drawn", "values_sha256": values}


def runtime(**changes: Any) -> dict[str, Any]:
    """Return what the runtime reports about itself."""
    content: dict[str, Any] = {
        "runtime": "onnxruntime",
        "version": "1.31.1",
        "provider": "CPUExecutionProvider",
        "threads": {"intra_op": 2, "inter_op": 1},
        "graph_level": "all",
        "inputs": [bound()],
        "batch_size": 1,
    }
    return content | changes


def raw_of(medians: Iterable[float]) -> list[RawRepeat]:
    return [
        RawRepeat(index=index, load_ns=5_000_000 + index, warmup_ns=[], inference_ns=[round(median * 1e6)] * 3, inference_peak_mb=100.0)
        for index, median in enumerate(medians)
    ]


def job(
    medians: Sequence[float] = SIX,
    number: int = 1,
    *,
    said: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    name: str = "m.onnx",
    device: str = "lab",
    noise: Noise | None = QUIET,
    software: dict[str, str] | None = None,
    inferences: int = 3,
    soc: str = "chip",
    **changes: Any,
) -> JobRecord:
    """Return a complete job. `changes` replace fields of its result, and `said` replaces what the runtime reports."""
    result = result_of(
        number,
        summary=summarise(raw_of(medians)),
        model_sha256=changes.pop("sha256", A),
        model_name=name,
        worker_id=f"worker-{device}",
        device=Device(name=device, soc=soc, ram_gb=8.0, os="Linux"),
        runtime=runtime() if said is None else said,
        noise=noise,
        software={"onnxruntime": "1.31.1", "fleetmark": "0.1.0"} if software is None else software,
        **changes,
    )
    work = inference_workload(
        model=ModelRef(source=f"file:///{name}", name=name), inferences=inferences, options=EngineOptions(**options or {})
    )
    return record(number, result, workload=work)


def failed(number: int = 1, status: JobStatus = JobStatus.FAILED, error: str = "no such operator", **changes: Any) -> JobRecord:
    """Return a job without a result."""
    name = changes.pop("name", "m.onnx")
    options = EngineOptions(**changes.pop("options", {}))
    work = inference_workload(model=ModelRef(source=f"file:///{name}", name=name), options=options)
    return record(number, None, status=status, error=error, workload=work, **changes)


def sides(*jobs: JobRecord, metric: str = INFERENCE, varied: Sequence[str] = ()) -> list[Side]:
    return [side_of(one, FIGURES[metric], varied) for one in jobs]


def drawn(generator: np.random.Generator, *, cv: float, ratio: float = 1.0, repeats: int = 6, drift: float = 0.0) -> tuple[float, ...]:
    """Return medians of repeats that vary by `cv` between processes, and that drift by `drift` from the first to the last."""
    noise = generator.normal(0.0, cv, repeats) + np.linspace(-drift / 2, drift / 2, repeats)
    return tuple(10.0 * ratio * np.exp(noise))
