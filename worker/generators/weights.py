"""Reads from the headers of `.safetensors` files how many weights a model has. It reads no weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from shared.errors import ModelInvalid
from shared.snapshots import WEIGHTS as SUFFIX

# The bytes of one element. A runtime converts the wide floating-point types to its own; the others stay as they are.
_WIDE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_NARROW = {"F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}
MAX_HEADER = 100_000_000  # bytes; the format's own limit
_TABLES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight", "embed_in.weight")
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")


@dataclass(frozen=True)
class Weights:
    """Counts the weights of a model.

    Attributes:
        count: All of them.
        bytes: What they take on the device.
        table_bytes: The part of the table of embeddings, if a head of its own writes the tokens, so that a step reads a few rows of the
            table only; else 0.
    """

    count: int
    bytes: int
    table_bytes: int


def weights_of(folder: Path, element_bytes: int) -> Weights:
    """Return the weights of a snapshot.

    Args:
        element_bytes: What one weight takes in the runtime's floating-point type.

    Raises:
        ModelInvalid: A file is damaged.
    """
    count = size = table = 0
    has_head = False
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        for name, tensor in _header(file).items():
            elements, kind = prod(tensor["shape"]), tensor["dtype"]
            taken = elements * (element_bytes if kind in _WIDE else _NARROW.get(kind, 1))
            count, size = count + elements, size + taken
            table += taken if name.endswith(_TABLES) else 0
            has_head |= name.endswith(_HEADS)
    return Weights(count, size, table if has_head else 0)


def _header(file: Path) -> dict[str, Any]:
    """Return what a file says of each tensor: the first 8 bytes are the length of a JSON object, which follows."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > MAX_HEADER:
                raise ValueError(f"its header would have {length} bytes")
            found = json.loads(stream.read(length))
            return {name: tensor for name, tensor in found.items() if name != "__metadata__"}
    except (OSError, ValueError, AttributeError) as error:
        raise ModelInvalid(f"{file.name} is damaged: {error}") from error
