"""Contains how transformers compiles a model by torch.compile, and how it is seen what was compiled."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from worker.generators.base import Compiled

UNCOMPILED = (None, "none")  # the values of `options.compile` that leave the model as it is


def compiling(transformers: Any, mode: str | None) -> dict[str, Any]:
    """Return how a call compiles: for a cache of a fixed length, because each other length would be compiled anew."""
    if mode in UNCOMPILED:
        return {"disable_compile": True}
    config = transformers.CompileConfig(mode=mode, fullgraph=False, dynamic=False)
    config._compile_all_devices = True  # by itself it compiles for GPUs alone
    return {"cache_implementation": "static", "compile_config": config}


def counted_so_far() -> Compiled:
    """Return what torch has compiled in this process so far."""
    dynamo = import_module("torch._dynamo.utils")
    graphs, spent = int(dynamo.counters["stats"]["unique_graphs"]), dynamo.calculate_time_spent()["total_wall_time"]
    return Compiled(graphs, round(spent * 1e9))
