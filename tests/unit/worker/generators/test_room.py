"""Tests what a job says when its model does not fit, and how weights are counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import ModelInvalid
from worker.generators.room import Need, no_room
from worker.generators.weights import Weights, weights_of

MB = 2**20
ERROR = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (Need(600 * MB, MB // 10, 64, 100, 1_000 * MB), "at most 40 such sequences fit beside the weights: take options.batch_size 40"),
        (Need(600 * MB, MB, 2, 1_000, 1_000 * MB), "not one such sequence fits beside the weights"),
        (Need(600 * MB, MB // 10, 4, 100, 1_000 * MB), "scratch memory takes the rest, or another program does"),
        (Need(600 * MB, 0, 4, 100, None), "take a smaller options.batch_size, shorter prompts and answers"),
    ],
)
def test_what_does_not_fit_is_said_with_what_would(need: Need, said: str) -> None:
    detail = no_room("llama", "cuda", need, ERROR).detail
    assert detail.startswith("llama does not fit into the memory of cuda on this device: its weights take 600 MB")
    assert said in detail
    assert detail.endswith("torch says: CUDA out of memory. Tried to allocate 2.00 GiB")


def test_keys_and_values_are_counted_for_the_whole_batch() -> None:
    words = Need(600 * MB, MB // 10, 64, 100, 1_000 * MB).in_words()
    assert (
        words
        == "its weights take 600 MB, and the keys and values of 64 sequences of 100 tokens 640 MB (10.0 MB each), of 1000 MB on the device"
    )


def snapshot(folder: Path, *shards: dict[str, tuple[str, list[int]]]) -> Path:
    for number, tensors in enumerate(shards):
        content = {"__metadata__": {"format": "pt"}} | {name: {"dtype": kind, "shape": shape} for name, (kind, shape) in tensors.items()}
        header = json.dumps(content).encode()
        (folder / f"model-{number}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def test_weights_are_counted_over_all_files_in_the_type_of_the_runtime(tmp_path: Path) -> None:
    first = {"model.embed_tokens.weight": ("F32", [10, 4]), "a": ("BF16", [4, 4])}
    second = {"packed": ("I32", [2, 4]), "scales": ("F8_E4M3", [2, 2]), "lm_head.weight": ("F32", [10, 4])}
    assert weights_of(snapshot(tmp_path, first, second), 2) == Weights(
        count=40 + 16 + 8 + 4 + 40, bytes=2 * (40 + 16 + 40) + 4 * 8 + 4, table_bytes=80
    )


def test_a_table_that_also_writes_the_tokens_is_read_in_each_step(tmp_path: Path) -> None:
    assert weights_of(snapshot(tmp_path, {"model.embed_tokens.weight": ("F32", [10, 4])}), 4).table_bytes == 0


@pytest.mark.parametrize("content", [b"", (2**60).to_bytes(8, "little"), b"\x05\0\0\0\0\0\0\0[1, 2", b"\x02\0\0\0\0\0\0\0[]"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelInvalid, match=r"^model\.safetensors is damaged: "):
        weights_of(tmp_path, 2)
