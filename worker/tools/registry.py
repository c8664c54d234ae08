"""Maps the name of each tool to its class.

A new tool needs one file beside this one, one line here, and an entry in `shared.services.native_tools`.
"""

from __future__ import annotations

from shared.errors import EngineUnavailable, nearest
from worker.plug_ins import named
from worker.tools.base import Tool

TOOLS: dict[str, str] = {
    "memtier_benchmark": "worker.tools.memtier_benchmark:MemtierBenchmark",
    "pgbench": "worker.tools.pgbench:Pgbench",
    "redis-benchmark": "worker.tools.redis_benchmark:RedisBenchmark",
    "vllm-bench": "worker.tools.vllm_bench:VllmBench",
    # Tells what its settings say, so that tests know what must come of it. No recipe asks for it.
    "fake": "worker.tools.fake:FakeTool",
}


def resolve(name: str) -> type[Tool]:
    """Import and return the class of a tool.

    Raises:
        EngineUnavailable: This worker knows no such tool.
    """
    if name not in TOOLS:
        raise EngineUnavailable(f"this worker has no tool {name!r:.60} that sends requests: {nearest(name, list(TOOLS))}")
    found: type[Tool] = named(TOOLS[name])
    return found
