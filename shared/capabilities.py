"""What a worker can do. A capability's name is also the name of its Celery queue.

On the REST API the `compute_unit` of a job may be a capability or one of the labels people know from other tools
(`CPU (ONNX)`); a label may stand for several capabilities, and which one runs the job is decided at dispatch.
"""

from __future__ import annotations

from functools import cache

from shared.errors import InvalidInput, nearest

SERVICE_KINDS = ("postgres", "redis", "minio", "qdrant", "chroma", "triton", "ollama", "vllm")

# capability -> label on the REST API; where there is no label, the capability itself.
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
    """The private queue of one worker: jobs that only this device may take."""
    return f"worker.{worker_id}"


def label_of(capability: str) -> str:
    return LABELS[capability]


def known_names() -> list[str]:
    """Every accepted name, capabilities first, then the labels that differ from them."""
    return list(LABELS) + sorted({label for label in LABELS.values() if label not in LABELS})


@cache
def resolve(name: str) -> tuple[str, ...]:
    """The capabilities that a capability or a label stands for, in the order of the table.

    Raises:
        InvalidInput: the name is neither; the message gives the nearest known one.
    """
    if name in LABELS:
        return (name,)
    found = tuple(capability for capability, label in LABELS.items() if label == name)
    if not found:
        raise InvalidInput(f"unknown compute unit {name!r}: {nearest(name, known_names())}")
    return found
