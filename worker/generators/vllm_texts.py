"""Contains what the generator of vLLM needs for texts: which tokens end what the model writes, and why a text ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.generators.base import END_TOKEN, LENGTH, STOP_STRING

_FILES = ("generation_config.json", "config.json")


def end_tokens(folder: Path, tokenizer: Any) -> list[int]:
    """Return the token ids that end a text, as the model's own files say: the generation config, else the config, else the tokenizer."""
    for name in _FILES:
        file = folder / name
        found = json.loads(file.read_text()).get("eos_token_id") if file.is_file() else None
        if found is not None:
            return [int(one) for one in (found if isinstance(found, list) else [found])]
    found = getattr(tokenizer, "eos_token_id", None)
    return [] if found is None else [int(found)]


def finish_reason(ids: Sequence[int], ends: Sequence[int], stop_reason: object) -> str:
    """Return why a text ends where it does. `stop_reason` is vLLM's: the string or the token that ended it, or None."""
    if isinstance(stop_reason, str):
        return STOP_STRING
    return END_TOKEN if ids and ids[-1] in ends else LENGTH
