"""Makes the tensors of requests to a server of KServe v2 from what the server says about its model. Everything here is pure.

Values are drawn by seed: floating-point numbers from 0 to 1, whole numbers from 0 to 9 (they may be indices into a table), truth values,
and texts of letters. They are for speed: what the model answers to them means nothing.
"""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from shared.errors import ModelInvalid

TEXT, TEXT_BYTES, LENGTH_BYTES = "BYTES", 16, 4
# The size of an element in bytes, and its code in the module `array`; FP16 and BF16 have none there.
TYPES: Mapping[str, tuple[int, str]] = {
    "BOOL": (1, "B"), "UINT8": (1, "B"), "UINT16": (2, "H"), "UINT32": (4, "I"), "UINT64": (8, "Q"), "INT8": (1, "b"), "INT16": (2, "h"),
    "INT32": (4, "i"), "INT64": (8, "q"), "FP16": (2, ""), "BF16": (2, ""), "FP32": (4, "f"), "FP64": (8, "d"), TEXT: (0, ""),
}  # fmt: skip
ONLY_BINARY = ("FP16", "BF16")  # JSON of KServe v2 has no form for them
MOST_ELEMENTS = 2**28


@dataclass(frozen=True)
class Tensor:
    """Describes one input of a request. `text_bytes` is the length of each text of a tensor of texts."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    text_bytes: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Return the number of bytes of its binary form."""
        return self.elements * (TYPES[self.datatype][0] if self.datatype != TEXT else LENGTH_BYTES + self.text_bytes)


def tensors_of(metadata: Mapping[str, Any], *, batched: bool, batch_size: int, payload_bytes: int) -> list[Tensor]:
    """Return the inputs of a request.

    Args:
        metadata: what the server says about the model: `inputs`, each with its name, type and shape, where -1 is a free dimension.
        batched: whether the first dimension of each input is the number of inputs in a request.
        payload_bytes: how many bytes all tensors together have at least; 0 leaves free dimensions at 1.

    Raises:
        ModelInvalid: the model has a type that is not known, or its inputs cannot have the size that was asked for.
    """
    if not batched and batch_size > 1:
        raise ModelInvalid(f"client.settings.batch_size is {batch_size}, and the model takes one input in a request; write 1")
    made, free = [], []
    for number, one in enumerate(metadata.get("inputs") or ()):
        name, datatype, dims = str(one["name"]), str(one["datatype"]), [int(size) for size in one["shape"]]
        if datatype not in TYPES:
            raise ModelInvalid(f"the input {name!r} of the model has the type {datatype}; this version knows {', '.join(TYPES)}")
        places = [place for place, size in enumerate(dims) if size < 0]
        if batched and places[:1] == [0]:
            dims[0] = batch_size
            places = places[1:]
        free += [(number, place) for place in places]
        shape = tuple(1 if size < 0 else size for size in dims)
        made.append(Tensor(name, datatype, shape, TEXT_BYTES if datatype == TEXT else 0))
    if not made:
        raise ModelInvalid("the server says that the model has no inputs, so there is nothing to send")
    return _stretched(made, free, payload_bytes)


def _stretched(tensors: list[Tensor], free: Sequence[tuple[int, int]], payload_bytes: int) -> list[Tensor]:
    """Return the tensors with at least this many bytes: the texts, or else the first free dimension, are made longer."""
    missing = payload_bytes - sum(one.size for one in tensors)
    texts = [number for number, one in enumerate(tensors) if one.datatype == TEXT and one.elements]
    if missing <= 0:
        return tensors
    made = list(tensors)
    if texts:
        longer = math.ceil(missing / made[texts[0]].elements)
        made[texts[0]] = replace(made[texts[0]], text_bytes=made[texts[0]].text_bytes + longer)
        return made
    if not free:
        size = sum(one.size for one in tensors)
        raise ModelInvalid(
            f"client.settings.payload_size_bytes is {payload_bytes}, and the inputs of the model have {size} bytes without a free "
            "dimension; write 0, or choose a model with a free dimension"
        )
    number, place = free[0]
    one = made[number]
    rest = sum(other.size for index, other in enumerate(made) if index != number)
    length = math.ceil((payload_bytes - rest) / one.size)  # the free dimension is 1 until now
    made[number] = replace(one, shape=(*one.shape[:place], length, *one.shape[place + 1 :]))
    if made[number].elements > MOST_ELEMENTS:
        raise ModelInvalid(f"client.settings.payload_size_bytes is {payload_bytes}: the input {one.name!r} would have too many elements")
    return made


def values_of(tensor: Tensor, draw: Random) -> bytes:
    """Return the binary form of a tensor: little-endian, and each text after its length."""
    if tensor.datatype == TEXT:
        return b"".join(
            struct.pack("<I", tensor.text_bytes) + bytes(draw.choices(range(97, 123), k=tensor.text_bytes)) for _ in range(tensor.elements)
        )
    _, code = TYPES[tensor.datatype]
    if tensor.datatype in ("FP32", "FP64", *ONLY_BINARY):
        numbers = [draw.random() for _ in range(tensor.elements)]
        if tensor.datatype == "FP16":
            return struct.pack(f"<{len(numbers)}e", *numbers)
        if tensor.datatype == "BF16":  # the upper half of a float32
            whole = struct.pack(f"<{len(numbers)}f", *numbers)
            return b"".join(whole[place + 2 : place + 4] for place in range(0, len(whole), 4))
        return array(code, numbers).tobytes()
    most = 2 if tensor.datatype == "BOOL" else 10
    return array(code, [draw.randrange(most) for _ in range(tensor.elements)]).tobytes()


def body_of(tensors: Sequence[Tensor], outputs: Sequence[str], draw: Random, *, binary: bool) -> tuple[bytes, int | None]:
    """Return the body of a request, and the length of its JSON if tensors follow it in their binary form.

    Raises:
        ModelInvalid: JSON has no form for a tensor's type.
    """
    data = [values_of(one, draw) for one in tensors]
    asked = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    inputs: list[dict[str, Any]] = [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in tensors]
    if binary:
        for described, content in zip(inputs, data, strict=True):
            described["parameters"] = {"binary_data_size": len(content)}
        head = json.dumps({"inputs": inputs, "outputs": asked}).encode()
        return head + b"".join(data), len(head)
    for described, one, content in zip(inputs, tensors, data, strict=True):
        if one.datatype in ONLY_BINARY:
            raise ModelInvalid(f"the input {one.name!r} has the type {one.datatype}, which JSON cannot hold; write `encoding: binary`")
        described["data"] = _listed(one, content)
    return json.dumps({"inputs": inputs, "outputs": asked}).encode(), None


def _listed(tensor: Tensor, content: bytes) -> list[Any]:
    if tensor.datatype == TEXT:
        step = LENGTH_BYTES + tensor.text_bytes
        return [content[place + LENGTH_BYTES : place + step].decode() for place in range(0, len(content), step)]
    numbers = array(TYPES[tensor.datatype][1])
    numbers.frombytes(content)
    return [bool(number) for number in numbers] if tensor.datatype == "BOOL" else numbers.tolist()
