"""Finds out how many threads ONNX Runtime really uses for a session.

When the runtime chooses the number itself, it reports 0, and its choice depends on the machine and the process. So the threads are counted
that appear with the session. Where its provider may start threads of its own, the system does not list them, or the session has a second
pool of unknown size, another session with the default number of threads is opened on a model of one node instead. The pool has one thread
less than the runtime uses for an operator, because the calling thread works, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

_TASKS = Path("/proc/self/task")


def one_node() -> bytes:
    """Return the serialised model y = Relu(x) with one float (IR version 8, opset 13), built without the `onnx` package."""

    def part(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    shape = part(2, part(1, b"\x08\x01"))  # one dimension, whose value is 1
    kind = part(2, part(1, b"\x08\x01" + shape))  # a tensor of floats
    node = part(1, b"x") + part(2, b"y") + part(4, b"Relu")
    graph = part(1, node) + part(2, b"g") + part(11, part(1, b"x") + kind) + part(12, part(1, b"y") + kind)
    return b"\x08\x08" + part(7, graph) + part(8, b"\x10\x0d")


def threads_of(session: Any, intra_op: int, inter_op: int, appeared: int | None) -> dict[str, int | None]:
    """Return how many threads a session uses within one operator and across operators. None where this cannot be known.

    Args:
        intra_op, inter_op: What the session was asked for. 0 means the runtime's own choice.
        appeared: How many threads appeared with the session; None if it is not known, or if some of them are not the session's.
    """
    options = session.get_session_options()
    parallel = options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    across = inter_op if parallel else 1
    if intra_op:
        return {"intra_op": intra_op, "inter_op": across or None}
    if appeared is not None and across:  # without `across`, nothing tells the threads of the two pools apart
        return {"intra_op": appeared - (across - 1) + 1, "inter_op": across}
    return {"intra_op": _counted(options.log_severity_level), "inter_op": across or None}


def _counted(log_severity_level: int) -> int | None:
    """Return how many threads the runtime uses by default, counted with a session of its own."""
    before = _running()
    probe = onnxruntime.SessionOptions()
    probe.log_severity_level = log_severity_level
    trial = onnxruntime.InferenceSession(one_node(), probe, providers=["CPUExecutionProvider"])
    after = _running()
    del trial
    return after - before + 1 if before and after else None


def listed() -> int | None:
    """Return the number of threads of this process, as the kernel lists them. None where it lists none."""
    return sum(1 for _ in _TASKS.iterdir()) if _TASKS.exists() else None


def _running() -> int:
    """Return the number of threads of this process."""
    if (count := listed()) is not None:
        return count
    import psutil

    return int(psutil.Process().num_threads())
