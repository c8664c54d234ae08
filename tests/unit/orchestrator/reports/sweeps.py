"""Makes the jobs of a sweep over batch and threads, as a worker would report them."""

from __future__ import annotations

from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.inferences.figures import Figure, figure
from shared.device_labels import device_labels
from shared.engine_options import EngineOptions
from shared.inputs import ModelRef
from shared.protocol.messages import Device
from shared.workloads import inference_workload
from tests.unit.orchestrator.reports.bundles import record, result_of

VARIED = ("options.batch_size", "options.threads")
MODEL = "yolo.onnx"


def cell(
    number: int,
    ms: float,
    batch: int = 1,
    threads: int = 1,
    *,
    device: Device | None = None,
    worker: str = "worker-aaaa",
    side: int = 416,
    options: dict[str, Any] | None = None,
    symbol: dict[str, Any] | None = None,
    **changes: Any,
) -> JobRecord:
    """Return a job of the sweep that takes `ms` for a call with `batch` images of `side` × `side` pixels.

    Args:
        symbol: what the runtime reports about the batch's symbol. None is what present workers report, and an empty mapping is what older
            workers report.
    """
    bound: dict[str, Any] = {
        "name": "image",
        "type": "tensor(float)",
        "shape": ["batch", 3, "height", "width"],
        "bound_shape": [batch, 3, side, side],
        "values_sha256": f"{batch * side:064x}",
    }
    runtime: dict[str, Any] = {"inputs": [bound], "batch_size": batch, "threads": {"intra_op": threads, "inter_op": 1}}
    runtime |= {"batch_symbol": "batch"} if symbol is None else symbol
    given = EngineOptions(**{"batch_size": batch, "threads": threads} | (options or {}))
    content: dict[str, Any] = {
        "repeats": 6,
        "runtime": runtime,
        "worker_id": worker,
        "device": device or Device(name="pi-5"),
        "model_name": MODEL,
    }
    workload = inference_workload(model=ModelRef(source="file:///yolo.onnx", name=MODEL), options=given)
    return record(number, result_of(number, ms, **content | changes), workload=workload)


def figures(*jobs: JobRecord, varied: tuple[str, ...] = VARIED) -> list[Figure]:
    labels = device_labels((job.result.worker_id, job.result.device.name) for job in jobs if job.result is not None)
    return [figure(job, labels, varied) for job in jobs]
