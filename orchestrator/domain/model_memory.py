"""Computes how much memory a language model takes: its weights, and the keys and values of the tokens in its cache.

The cache holds two vectors (key and value) for each layer, each head of keys and values, and each token. A model with a sliding window
keeps fewer tokens, so this is an upper bound for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MB = 2**20
BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1}
MOST = 10**7  # the largest believable number of layers, heads or dimensions in a config.json


@dataclass(frozen=True)
class ModelMemory:
    """Holds what is known of a model before a worker opens it.

    Attributes:
        weights_bytes: the size of the files with its weights.
        dtype: the type of the weights in these files; empty if config.json does not say it.
        values_per_token: how many numbers the cache holds for one token; None if config.json does not say it.
    """

    weights_bytes: int
    dtype: str
    values_per_token: int | None


@dataclass(frozen=True)
class Held:
    """Holds the memory that a model takes, in MB of 2^20 bytes. `cache_mb` is None if it is not known."""

    weights_mb: float
    cache_mb: float | None

    @property
    def total_mb(self) -> float:
        return round(self.weights_mb + (self.cache_mb or 0.0), 1)


def model_memory(config: Mapping[str, Any], weights_bytes: int) -> ModelMemory:
    """Return what a config.json says about the memory of a model.

    Args:
        weights_bytes: the size of the files with its weights.
    """
    text = config.get("text_config")
    inner = text if isinstance(text, Mapping) else config
    layers = _count(inner, "num_hidden_layers", "n_layer", "num_layers")
    heads = _count(inner, "num_attention_heads", "n_head", "num_heads")
    of_values = _count(inner, "num_key_value_heads") or heads
    width = _count(inner, "hidden_size", "n_embd", "d_model")
    size = _count(inner, "head_dim") or (width // heads if width and heads else None)
    values = 2 * layers * of_values * size if layers and of_values and size else None
    return ModelMemory(weights_bytes, _dtype(config) or _dtype(inner), values)


def memory_of(model: ModelMemory, tokens: int | None, dtype: str | None) -> Held:
    """Return the memory that a model takes while it works.

    Args:
        tokens: how many tokens its cache holds at most, over all sequences of a batch.
        dtype: the type to which the weights are converted; None if they stay as they are.
    """
    stored, used = BYTES.get(model.dtype), BYTES.get(dtype or model.dtype)
    weights = model.weights_bytes * (used / stored if used and stored and dtype else 1)
    # The cache has the type of the computation. For weights of 8 bits and less that is one of 16 bits.
    each = max(used, 2) if used else 2
    cache = None if model.values_per_token is None or tokens is None else model.values_per_token * tokens * each
    return Held(weights / MB, None if cache is None else cache / MB)


def _count(config: Mapping[str, Any], *names: str) -> int | None:
    found = next((config[name] for name in names if name in config), None)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 < found <= MOST else None


def _dtype(config: Mapping[str, Any]) -> str:
    """Return the type of the weights by the name of torch. All types of 8 bits are called `float8`."""
    quantized = config.get("quantization_config")
    if isinstance(quantized, Mapping) and str(quantized.get("quant_method", "")).lower() in ("fp8", "fbgemm_fp8"):
        return "float8"
    named = config.get("dtype", config.get("torch_dtype"))
    name = named.removeprefix("torch.") if isinstance(named, str) else ""
    return "float8" if name.startswith("float8") else name if name in BYTES else ""
