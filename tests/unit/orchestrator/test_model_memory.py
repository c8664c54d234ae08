"""Tests how much memory a language model is said to take, against figures that were computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.model_memory import memory_of, model_memory

# The public configurations of these models, with only the keys that count. Each value per token is 2 x layers x heads x dimension.
LLAMA_8B = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "torch_dtype": "bfloat16"}
GPT_2 = {"n_layer": 12, "n_head": 12, "n_embd": 768}
QWEN_3 = {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "hidden_size": 1024}


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (LLAMA_8B, 2 * 32 * 8 * 128),
        (GPT_2, 2 * 12 * 12 * 64),
        (QWEN_3, 2 * 28 * 8 * 128),
        ({"text_config": LLAMA_8B}, 2 * 32 * 8 * 128),
        ({"num_hidden_layers": 32}, None),
        ({**LLAMA_8B, "num_hidden_layers": "many"}, None),
        ({**LLAMA_8B, "num_hidden_layers": -1}, None),
    ],
)
def test_the_cache_holds_two_vectors_for_each_layer_and_head_of_values(config: dict[str, Any], values: int | None) -> None:
    assert model_memory(config, 0).values_per_token == values


def test_an_8_billion_model_with_8192_tokens_takes_its_weights_and_one_gigabyte() -> None:
    held = memory_of(model_memory(LLAMA_8B, 16 * 2**30), 8_192, None)
    assert (held.weights_mb, held.cache_mb, held.total_mb) == (16_384, 1_024, 17_408)


def test_another_type_of_the_weights_changes_both_parts() -> None:
    held = memory_of(model_memory(LLAMA_8B, 16 * 2**30), 8_192, "float32")
    assert (held.weights_mb, held.cache_mb) == (32_768, 2_048)


def test_weights_of_8_bits_have_a_cache_of_16_bits() -> None:
    fp8 = model_memory({**LLAMA_8B, "quantization_config": {"quant_method": "fp8"}}, 8 * 2**30)
    assert fp8.dtype == "float8"
    assert memory_of(fp8, 8_192, None).cache_mb == 1_024


def test_without_the_shape_of_the_cache_only_the_weights_count() -> None:
    assert memory_of(model_memory({}, 2**30), 100, None).total_mb == 1_024
