"""Tests which files of a Hugging Face snapshot are the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import ModelInvalid
from shared.model_packages import model_file, shown_path
from shared.snapshots import MAX_BYTES, config_file, files_in, is_snapshot, parts_of

CONFIG = json.dumps({"model_type": "llama"})


def test_the_parts_are_the_weights_and_the_tokenizer_and_nothing_else() -> None:
    files = ["README.md", "config.json", "generation_config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    files += ["model.safetensors.index.json", "modeling_mine.py", "pytorch_model.bin", "tokenizer.json", "training_args.bin"]
    parts = parts_of(files, "mine")
    assert parts == [*files[2:6], "tokenizer.json"]


@pytest.mark.parametrize("file", ["pytorch_model.bin", "consolidated.00.pth", "model.ckpt", "tf_model.h5"])
def test_weights_that_can_run_code_are_refused_with_the_way_to_convert_them(file: str) -> None:
    with pytest.raises(
        ModelInvalid, match=rf"mine keeps its weights in '{file}', a format that can run code .* writes \.safetensors files"
    ):
        parts_of(["config.json", file], "mine")


def test_a_folder_without_weights_is_no_model() -> None:
    with pytest.raises(ModelInvalid, match=r"mine has no file of weights \(\.safetensors\) beside its config\.json"):
        parts_of(["config.json", "tokenizer.json"], "mine")


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        (CONFIG, True),
        ("\n  " + CONFIG, True),
        ('{"model_type": 3}', False),
        ('{"rootModelIdentifier": "x"}', False),
        ("[1, 2]", False),
        ("{", False),
        ("", False),
        ("[" * 100_000, False),
        ("{" + '"a":{' * 100_000, False),
        (CONFIG + " " * MAX_BYTES, False),
    ],
)
def test_a_config_is_known_by_its_content(tmp_path: Path, content: str, is_one: bool) -> None:
    (tmp_path / "blob").write_text(content)
    assert is_snapshot(tmp_path / "blob") is is_one


def test_a_folder_stands_for_its_config_and_is_shown_by_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-llama"
    (folder / "original").mkdir(parents=True)
    (folder / "config.json").write_text(CONFIG)
    (folder / "model.safetensors").write_bytes(b"w")
    assert config_file(folder) == model_file(folder) == folder / "config.json"
    assert model_file(tmp_path) == tmp_path, "a folder without a config is left as it is"
    assert shown_path(folder / "config.json") == folder
    assert files_in(folder, "tiny-llama") == ["config.json", "model.safetensors"]
