"""Says what vLLM reports of itself: its configuration, and the times that it takes itself."""

from __future__ import annotations

from typing import Any

LIBRARIES = ("vllm", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def of_config(config: Any) -> dict[str, Any]:
    """Return what vLLM has decided about a model, its cache of keys and values, and its batches."""
    model, cache, scheduler, parallel = config.model_config, config.cache_config, config.scheduler_config, config.parallel_config
    return {
        "architecture": model.architectures[0],
        "model_type": model.hf_config.model_type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "graph_level": "eager" if model.enforce_eager else config.compilation_config.mode.name,
        "cache": "new for each request; prefix caching is off",
        "cache_tokens": (cache.num_gpu_blocks or 0) * cache.block_size,
        "cache_block_tokens": cache.block_size,
        "prefix_caching": bool(cache.enable_prefix_caching),
        "gpu_memory_utilization": cache.gpu_memory_utilization,
        "tensor_parallel_size": parallel.tensor_parallel_size,
        "executor": str(parallel.distributed_executor_backend),
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
    }


def own_times(stats: Any) -> dict[str, float]:
    """Return vLLM's own times of a request, in milliseconds. All of them come from one clock, unlike its `arrival_time`."""
    return {
        "queued_to_scheduled": 1e3 * (stats.scheduled_ts - stats.queued_ts),
        "scheduled_to_first_token": 1e3 * (stats.first_token_ts - stats.scheduled_ts),
        "first_to_last_token": 1e3 * (stats.last_token_ts - stats.first_token_ts),
    }
