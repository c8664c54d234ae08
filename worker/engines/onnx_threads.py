"""Finds out how many threads ONNX Runtime really uses for a session.

When the runtime chooses the number itself, it reports 0, and its choice depends on the machine and the process. So a second session
with the default number of threads is opened on a model of one node, and the new threads are counted. The pool has one thread less
than the runtime uses for an operator, because the calling thread works, too.
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


def threads_of(session: Any, intra_op: int, inter_op: int) -> dict[str, int | None]:
    """Return how many threads a session uses within one operator and across operators. None where this cannot be known.

    Args:
        intra_op, inter_op: What the session was asked for. 0 means the runtime's own choice.
    """
    options = session.get_session_options()
    parallel = options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    across = inter_op if parallel else 1
    if intra_op:
        return {"intra_op": intra_op, "inter_op": across or None}
    before = _running()
    probe = onnxruntime.SessionOptions()
    probe.log_severity_level = options.log_severity_level
    trial = onnxruntime.InferenceSession(one_node(), probe, providers=["CPUExecutionProvider"])
    after = _running()
    del trial
    counted = after - before + 1 if before and after else None
    return {"intra_op": counted, "inter_op": across or None}


def _running() -> int:
    """Return the number of threads of this process."""
    if _TASKS.exists():
        return sum(1 for _ in _TASKS.iterdir())
    import psutil

    return int(psutil.Process().num_threads())
