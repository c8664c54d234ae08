"""Says which files of a Hugging Face snapshot are the model. A snapshot is a folder with `config.json`, weights and a tokenizer.

The rest of Fleetmark knows a model as one file with companions beside it. For a snapshot that file is `config.json`, and the companions
are the weights and the tokenizer's files. So a snapshot is uploaded, hashed, cached and checked like any other model. All other files of
the folder (a README, the code of its authors, a second copy of the weights) are never opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from shared.errors import ModelInvalid
from shared.external_data import MAX_FILES

CONFIG = "config.json"
MAX_BYTES = 4 * 2**20  # of a config.json; the largest that we know has 100 kB of labels
WEIGHTS = ".safetensors"
# Formats of weights that run code when they are opened, or that no generator reads.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
INDEX = "model.safetensors.index.json"
BESIDE = frozenset(
    {
        *("generation_config.json", INDEX, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "chat_template.jinja", "chat_template.json"),
    }
)


def config_file(path: Path) -> Path:
    """Return the file that stands for a model: for the folder of a snapshot its `config.json`, otherwise the path itself."""
    return path / CONFIG if path.is_dir() and (path / CONFIG).is_file() else path


def is_snapshot(file: Path) -> bool:
    """Return whether a file is the `config.json` of a snapshot. Its name does not matter, because the cache knows files by their hash."""
    if not 2 <= file.stat().st_size <= MAX_BYTES:
        return False
    with file.open("rb") as stream:
        if stream.read(64).lstrip()[:1] != b"{":
            return False
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(config, dict) and isinstance(config.get("model_type"), str)


def files_in(folder: Path, name: str) -> list[str]:
    """Return the names of all files in the folder of a snapshot. Subfolders hold no part of the model.

    Raises:
        ModelInvalid: There are too many.
    """
    found = sorted(path.name for path in folder.iterdir() if path.is_file())
    if len(found) > MAX_FILES:
        raise ModelInvalid(f"{name} has more than {MAX_FILES} files; is it a snapshot of one model?")
    return found


def parts_of(known: Iterable[str], name: str) -> list[str]:
    """Return those of the known files that belong to the model, besides its `config.json`.

    Raises:
        ModelInvalid: None of them holds weights that can be read without running code.
    """
    files = list(dict.fromkeys(known))
    weights = [file for file in files if file.endswith(WEIGHTS)]
    if not weights:
        if pickled := next((file for file in files if file.endswith(PICKLES)), None):
            raise ModelInvalid(
                f"{name} keeps its weights in {pickled!r:.300}, a format that can run code when it is opened, and a worker opens none. "
                "Convert it on a machine where you trust it: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder) of "
                f"transformers writes {WEIGHTS} files; copy the tokenizer's files beside them"
            )
        raise ModelInvalid(f"{name} has no file of weights ({WEIGHTS}) beside its {CONFIG}: give the whole folder of the snapshot")
    return [file for file in files if file in weights or PurePosixPath(file).name in BESIDE]
