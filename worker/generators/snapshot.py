"""Checks that a model is a Hugging Face snapshot, and reads what every generator must know of it."""

from __future__ import annotations

import json
from pathlib import Path

from shared.errors import ModelInvalid
from shared.snapshots import CONFIG, is_snapshot, parts_of
from shared.snapshots import WEIGHTS as WEIGHTS_SUFFIX

RANDOM = "random_weights"  # a key of a config.json that says that nobody trained the model
SAID_RANDOM = "the weights of this model are random: its speed is real, and what it writes means nothing"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# Nothing is fetched from a hub, and nobody is told what runs here.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


def folder_of(model: Path) -> Path:
    """Return the folder of a snapshot, whose `config.json` is given.

    Raises:
        ModelInvalid: It is no snapshot, or its weights are in files that may run code.
    """
    if model.name != CONFIG or not is_snapshot(model):
        raise ModelInvalid(
            f"{model.name} is no {CONFIG} of a Hugging Face snapshot: give a folder with {CONFIG}, the tokenizer and *{WEIGHTS_SUFFIX}"
        )
    parts_of((path.name for path in model.parent.iterdir()), model.parent.name)
    return model.parent


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZERS)


def warnings_of(folder: Path) -> list[str]:
    """Return what every result of this model must say."""
    return [SAID_RANDOM] if json.loads((folder / CONFIG).read_text()).get(RANDOM) else []
