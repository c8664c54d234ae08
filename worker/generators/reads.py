"""Computes from a model's configuration how much of the device's memory one step reads at least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.generators.base import Reads

# A model with experts computes each token with a few of them, so a step reads a part of the weights only.
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def reads_of(config: Mapping[str, Any], weights_bytes: int, embedding_bytes: int, element_bytes: int) -> Reads:
    """Return what a step reads.

    Args:
        config: The configuration of the part that writes text, as its `config.json` has it.
        weights_bytes: All weights on the device.
        embedding_bytes: The table of embeddings, if nothing but the look-up of a few of its rows reads it; else 0.
        element_bytes: How many bytes one number of the keys and values takes.
    """
    if any((config.get(name) or 0) > 1 for name in _EXPERTS):
        return Reads(unknown="each token is computed by a few of the model's experts, so a step does not read all weights")
    return Reads(weights_bytes - embedding_bytes, kv_bytes_per_token(config, element_bytes))


def kv_bytes_per_token(config: Mapping[str, Any], element_bytes: int) -> int:
    """Return the bytes of the keys and values of one token in all layers, or 0 if not every layer keeps and reads all of them."""
    layers, heads = config.get("num_hidden_layers"), config.get("num_key_value_heads") or config.get("num_attention_heads")
    size = config.get("head_dim") or _share(config.get("hidden_size"), config.get("num_attention_heads"))
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    types = set(config.get("layer_types") or ())
    if window or config.get("kv_lora_rank") or types - {"full_attention"} or not (layers and heads and size):
        return 0
    return int(2 * layers * heads * size * element_bytes)


def _share(whole: int | None, parts: int | None) -> int:
    return whole // parts if whole and parts else 0
