"""Holds an example of each setting of the services that are language models, as `tools.recipe_examples` does for the other keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from shared.services.ollama import OllamaClient, OllamaSettings
from shared.services.openai import OpenAiClient
from shared.services.vllm import VllmClient, VllmSettings

_OF_LANGUAGE_MODELS: dict[str, Any] = {
    "num_requests": 200,
    "model": "my-model",
    "endpoint": "completions",
    "stream": False,
    "max_tokens": 128,
    "temperature": 0.7,
    "sampling_seed": 7,
    "prompt": "Why is the sky blue?",
    "input_tokens": 512,
    "input_tokens_distribution": "lognormal",
    "input_tokens_spread": 0.5,
    "prompts": ["Why is the sky blue?", "Write a poem about rain."],
    "prompts_file": "questions.jsonl",
    "prompts_field": "question",
    "keep_prompts": True,
}
_OF_OPENAI: dict[str, Any] = {"ignore_eos": True, "include_usage": False, "extra_body": {"top_p": 0.9}}
EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    OpenAiClient: _OF_LANGUAGE_MODELS | _OF_OPENAI,
    VllmClient: _OF_LANGUAGE_MODELS | _OF_OPENAI,
    OllamaClient: _OF_LANGUAGE_MODELS | {"max_retries": 0},
    VllmSettings: {
        "port": 8000,
        "model": "Qwen/Qwen3-0.6B",
        "tensor_parallel_size": 2,
        "max_model_len": 8_192,
        "gpu_memory_utilization": 0.8,
        "dtype": "bfloat16",
        "max_num_seqs": 64,
        "prefix_caching": False,
        "enforce_eager": True,
    },
    OllamaSettings: {"port": 11_434, "model": "llama3.2:1b", "pull": True, "warmup_seconds": 0, "num_parallel": 4},
}
# Where each section stands: the type of the service, and the keys that lead to the section.
PLACES: dict[type[BaseModel], tuple[str, tuple[str, ...]]] = {
    OpenAiClient: ("openai", ("client", "settings")),
    VllmClient: ("vllm", ("client", "settings")),
    OllamaClient: ("ollama", ("client", "settings")),
    VllmSettings: ("vllm", ("service", "settings")),
    OllamaSettings: ("ollama", ("service", "settings")),
}
# What a key cannot do without.
BESIDE: dict[str, dict[str, Any]] = {
    "input_tokens_distribution": {"input_tokens": 512, "input_tokens_spread": 0.5},
    "prompts_field": {"prompts_file": "questions.jsonl"},
    "input_tokens_spread": {"input_tokens": 512, "input_tokens_distribution": "lognormal"},
}
# The limits of an SLO that only language models have.
SLO: dict[str, Any] = {
    **{"p50_ttft_ms": 300, "p95_ttft_ms": 1_000, "p99_ttft_ms": 2_000, "p50_tpot_ms": 30, "p95_tpot_ms": 50, "p99_tpot_ms": 80},
}
