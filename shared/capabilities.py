"""Lists the capabilities of workers. The name of a capability is also the name of its Celery queue.

On the REST API, the `compute_unit` of a job is a capability or a label that people know from other tools (`CPU (ONNX)`).
A label may stand for several capabilities. The orchestrator chooses one of them when it dispatches the job.
"""

from __future__ import annotations

import re
from functools import cache

from pydantic.config import JsonDict

from shared.errors import InvalidInput, nearest

SERVICE_KINDS = ("postgres", "redis", "minio", "qdrant", "chroma", "triton", "ollama", "vllm")

# Maps each capability to its label on the REST API. A capability without a label maps to itself.
LABELS: dict[str, str] = {
    "cpu.onnx": "CPU (ONNX)",
    "gpu.cuda.onnx": "GPU (ONNX)",
    "gpu.rocm.onnx": "GPU (ONNX)",
    "gpu.directml.onnx": "GPU (ONNX)",
    "gpu.coreml": "GPU (CoreML)",
    "ane.coreml": "Neural Engine (CoreML)",
    "cpu.coreml": "CPU (CoreML)",
    "cpu.torch": "cpu.torch",
    "gpu.cuda.torch": "gpu.cuda.torch",
    "gpu.mps.torch": "gpu.mps.torch",
    "gpu.cuda.vllm": "gpu.cuda.vllm",
    "cpu.vllm": "cpu.vllm",
    "api.openai": "api.openai",
    **{f"service.{kind}": f"service.{kind}" for kind in SERVICE_KINDS},
    "hardware.cpu": "hardware.cpu",
    "hardware.cuda": "hardware.cuda",
}

RESULTS_QUEUE = "results"


def worker_queue(worker_id: str) -> str:
    """Return the name of a worker's private queue. It holds the jobs that only this device may take."""
    return f"worker.{worker_id}"


def label_of(capability: str) -> str:
    return LABELS[capability]


def known_names() -> list[str]:
    """Return every accepted name: first the capabilities, then the labels that differ from them."""
    return list(LABELS) + sorted({label for label in LABELS.values() if label not in LABELS})


def names_schema() -> JsonDict:
    """Return the JSON schema of these names. Generators of clients take the constants' names from `x-enum-varnames`.

    Their own names would be the same for `cpu.onnx` and `CPU (ONNX)`, and they would drop one of the two.
    """
    names = known_names()
    constants = [re.sub(r"\W+", "_", name).strip("_").upper() + ("" if name in LABELS else "_LABEL") for name in names]
    return {"enum": list(names), "x-enum-varnames": list(constants)}


@cache
def resolve(name: str) -> tuple[str, ...]:
    """Return the capabilities that a name stands for, in the order of `LABELS`. The name is a capability or a label.

    Raises:
        InvalidInput: the name is unknown. The message suggests the nearest known one.
    """
    if name in LABELS:
        return (name,)
    found = tuple(capability for capability, label in LABELS.items() if label == name)
    if not found:
        raise InvalidInput(f"unknown compute unit {name!r}: {nearest(name, known_names())}")
    return found
