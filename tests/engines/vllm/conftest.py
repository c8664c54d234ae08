"""Makes the tiny language model of these tests, and loads it once: that takes vLLM half a minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest

from tools.tiny_llama import make
from worker.generators.base import Settings
from worker.generators.registry import resolve

OPTIONS = {"batch_size": 2, "compile": "none", "gpu_memory_utilization": 0.1, "max_model_len": 256, "threads": 1, "dtype": "float32"}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a snapshot of two layers. Tests must not change it."""
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1}
    return make(tmp_path_factory.mktemp("models") / "tiny-llama", **sizes)  # vLLM's kernels for the CPU take heads of 32 and more


@pytest.fixture(scope="session")
def generator(tiny: Path) -> Iterator[Any]:
    loaded = resolve("cpu.vllm")()
    loaded.load(tiny / "config.json", Settings(**OPTIONS), "cpu.vllm", perf_counter_ns)  # type: ignore[arg-type]
    yield loaded
    loaded.unload()
