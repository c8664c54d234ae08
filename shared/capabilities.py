"""Lists the capabilities of workers. The name of a capability is also the name of its Celery queue.

On the REST API, the `compute_unit` of a job is a capability or a label that people know from other tools (`CPU (ONNX)`).
A label may stand for several capabilities. The orchestrator chooses one of them when it dispatches the job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from shared.errors import InvalidInput, nearest
from shared.plugins import engines_of_packages

if TYPE_CHECKING:
    from pydantic.config import JsonDict

# The types of service that this version can put under load (`shared.services`).
DRIVEN = (
    "redis",
    "postgres",
    "http",
    "minio",
    "chroma",
    "qdrant",
    "vllm",
    "ollama",
    "triton",
)
# Maps each capability that this version can run to its label on the REST API. A new engine adds its capabilities here and in
# `worker/engines/registry.py`; a test checks that both name the same.
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
    "cpu.vllm": "cpu.vllm",
    "gpu.cuda.vllm": "gpu.cuda.vllm",
    "hardware.cpu": "hardware.cpu",
    "hardware.cuda": "hardware.cuda",
    **{f"service.{name}": f"service.{name}" for name in DRIVEN},
    "api.openai": "api.openai",
}
# Maps a capability to the kinds of work that it can do (`shared.kinds`), where this is not inference alone.
_KINDS: dict[str, tuple[str, ...]] = {
    "cpu.torch": ("inference", "generation"),
    "gpu.cuda.torch": ("inference", "generation"),
    "gpu.mps.torch": ("inference", "generation"),
    "cpu.vllm": ("generation",),
    "gpu.cuda.vllm": ("generation",),
    "hardware.cpu": ("hardware",),
    "hardware.cuda": ("hardware",),
    **{f"service.{name}": ("load",) for name in DRIVEN},
    "api.openai": ("load",),
}
_INFERENCE = ("inference",)
# Maps a capability and a kind of work to the libraries that this kind needs beside those of the capability. A worker without them offers
# the capability for its other kinds of work.
_LIBRARIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("cpu.torch", "generation"): ("transformers",),
    ("gpu.cuda.torch", "generation"): ("transformers",),
    ("gpu.mps.torch", "generation"): ("transformers",),
}

_ADDED: set[str] = set()  # the capabilities of other packages

RESULTS_QUEUE = "results"


def add_engines_of_packages() -> None:
    """Make the capabilities known that other installed packages bring. Each process of ours calls this once, when it starts.

    Raises:
        InvalidInput: A package brings a capability that is taken, or whose name has not the form of one.
    """
    for capability in engines_of_packages(LABELS.keys() - _ADDED):
        LABELS[capability] = capability
        _ADDED.add(capability)
    resolve.cache_clear()


_PRIVATE = "worker."  # the names of private queues begin with it


def worker_queue(worker_id: str) -> str:
    """Return the name of a worker's private queue. It holds the jobs that only this device may take."""
    return f"{_PRIVATE}{worker_id}"


def worker_of_queue(queue: str) -> str | None:
    """Return the id of the worker whose private queue this is, or None if the queue is not private."""
    return queue.removeprefix(_PRIVATE) if queue.startswith(_PRIVATE) else None


def label_of(capability: str) -> str:
    return LABELS[capability]


def known_names() -> list[str]:
    """Return every name that a recipe may ask for and a worker may register with: first the capabilities, then their other labels."""
    return [*LABELS, *sorted({label for label in LABELS.values() if label not in LABELS})]


def names_schema(names: list[str]) -> JsonDict:
    """Return the JSON schema of one of these names. Generators of clients take the constants' names from `x-enum-varnames`.

    Their own names would be the same for `cpu.onnx` and `CPU (ONNX)`, and they would drop one of the two.
    """
    constants = [re.sub(r"\W+", "_", name).strip("_").upper() + ("" if name in LABELS else "_LABEL") for name in names]
    return {"enum": list(names), "x-enum-varnames": list(constants)}


@cache
def resolve(name: str) -> tuple[str, ...]:
    """Return the capabilities that a name stands for, in the order of `LABELS`. The name is a capability or a label.

    Raises:
        InvalidInput: the name is unknown. The message suggests the nearest known one.
    """
    found = _found(name)
    if not found:
        raise InvalidInput(f"unknown compute unit {name!r:.100}: {_meant(name)}")
    return found


def _meant(name: str) -> str:
    """Return a hint for a name that is not known: the capabilities that have each of its words (`cpu`, `redis`), else the nearest name."""
    words = set(name.lower().split("."))
    with_all = [repr(capability) for capability in LABELS if words <= set(capability.split("."))]
    if not with_all:
        return nearest(name, known_names())
    return f"did you mean {' or '.join(filter(None, (', '.join(with_all[:-1]), with_all[-1])))}? Known: {', '.join(known_names())}"


def resolve_stored(name: str) -> tuple[str, ...]:
    """Return the capabilities that the compute unit of a stored job stands for.

    A name that is not known any more stands for itself: the package that brought its engine is gone, or a newer version stored the job.
    Such a job waits for a worker that has it, and fails at its queue timeout. It must not stop the jobs beside it.
    """
    return _found(name) or (name,)


def kinds_of(capability: str) -> tuple[str, ...]:
    """Return the names of the kinds of work that a capability can do."""
    return _KINDS.get(capability, _INFERENCE)


def libraries_of(capability: str, kind: str) -> tuple[str, ...]:
    """Return the libraries that a kind of work needs beside those of the capability. Not every worker with the capability has them."""
    return _LIBRARIES.get((capability, kind), ())


def is_of_gpu(capability: str) -> bool:
    """Return whether a capability computes on a GPU, so that a model is in the memory of the GPU."""
    return capability.partition(".")[0] == "gpu"


def require_kind(units: Iterable[str], kind: str) -> None:
    """Check that each of these capabilities or labels can do a kind of work.

    Raises:
        ValueError: one of them cannot. The message lists those that can.
    """
    for unit in units:
        if not any(kind in kinds_of(capability) for capability in resolve(unit)):
            can = [capability for capability in LABELS if kind in kinds_of(capability)]
            does = " and ".join(kinds_of(resolve(unit)[0]))
            raise ValueError(f"{unit} is for the kind of work {does!r}, and this is {kind!r}; write one of: {', '.join(can)}")


def _found(name: str) -> tuple[str, ...]:
    if name in LABELS:
        return (name,)
    return tuple(capability for capability, label in LABELS.items() if label == name)
