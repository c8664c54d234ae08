"""Tests that the reported threads equal those that the system counts. Each case runs in a fresh process, without other sessions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import onnx_models
from worker.engines.onnx_threads import one_node
from worker.interpreter import ROOT

# This program counts the threads that appear with the model's own session, as the system shows them. Then it asks the engine.
_PROBE = """
import json, os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from worker.engines.base import Options
from worker.engines.onnx import OnnxEngine
from worker.engines.onnx_threads import threads_of
engine = OnnxEngine()
before = len(os.listdir("/proc/self/task"))
engine.load(Path({model!r}), Options(**json.loads({options!r})), "cpu.onnx")
after = len(os.listdir("/proc/self/task"))
own = engine.facts().runtime["threads"]
session, asked = engine._session, engine._session.get_session_options()
counted = threads_of(session, asked.intra_op_num_threads, asked.inter_op_num_threads, None)
print(json.dumps([after - before, own, counted, len(os.listdir("/proc/self/task")) - after]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own list of threads is Linux's")
@pytest.mark.parametrize("options", [{}, {"threads": 1}, {"threads": 3}, {"threads": 2, "inter_threads": 3}, {"inter_threads": 2}])
def test_the_threads_are_those_that_the_system_counts(options: dict[str, int], tmp_path: Path) -> None:
    model = onnx_models.linear(tmp_path / "l.onnx")
    code = _PROBE.format(root=str(ROOT), model=str(model), options=json.dumps(options))
    finished = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    appeared, threads, counted, left = json.loads(finished.stdout)
    inter = options.get("inter_threads", 1)
    assert threads == {"intra_op": appeared + 1 - (inter - 1), "inter_op": inter}
    assert counted == threads, "a session that counts finds the same number"
    assert threads["intra_op"] >= 1
    assert left == 0, "the session that counts leaves threads behind"
    if "threads" in options:
        assert threads["intra_op"] == options["threads"]


# This program opens a session with two pools whose sizes the runtime chooses, and a session with the first pool alone.
_TWO_POOLS = """
import json, os, sys
sys.path.insert(0, {root!r})
import onnxruntime
from worker.engines.onnx_threads import one_node, threads_of
def opened(mode):
    options = onnxruntime.SessionOptions()
    options.execution_mode = mode
    before = len(os.listdir("/proc/self/task"))
    session = onnxruntime.InferenceSession(one_node(), options, providers=["CPUExecutionProvider"])
    return session, len(os.listdir("/proc/self/task")) - before
first, one_pool = opened(onnxruntime.ExecutionMode.ORT_SEQUENTIAL)
second, two_pools = opened(onnxruntime.ExecutionMode.ORT_PARALLEL)
print(json.dumps([one_pool, threads_of(second, 0, 0, two_pools)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own list of threads is Linux's")
def test_the_threads_of_a_second_pool_of_unknown_size_are_not_counted_as_those_of_the_first() -> None:
    code = _TWO_POOLS.format(root=str(ROOT))
    finished = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    one_pool, threads = json.loads(finished.stdout)
    assert threads == {"intra_op": one_pool + 1, "inter_op": None}


def test_the_model_that_counts_is_an_onnx_model() -> None:
    import onnx

    model = onnx.load_model_from_string(one_node())
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Relu"]
