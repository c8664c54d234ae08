"""Converts between the arrays of the inputs and tensors, and between the names of element types."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from worker.engines.inputs.types import Array

# Maps torch's name of a type to ours. Other types keep torch's name; `check_type` refuses those for which no values can be made.
_NAMES = {
    "float32": "float",
    "float64": "double",
    "float8_e4m3fn": "float8e4m3fn",
    "float8_e4m3fnuz": "float8e4m3fnuz",
    "float8_e5m2": "float8e5m2",
    "float8_e5m2fnuz": "float8e5m2fnuz",
}
_TYPES = {ours: theirs for theirs, ours in _NAMES.items()}
# Types that numpy lacks are made as their bits, in the unsigned type of the same width.
_BITS = {"bfloat16": np.int16, "float8e4m3fn": np.uint8, "float8e4m3fnuz": np.uint8, "float8e5m2": np.uint8, "float8e5m2fnuz": np.uint8}
FLOATING = ("float", "double", "float16", "bfloat16")


def name_of(dtype: Any) -> str:
    """Return the name of an element type, such as `float` for `torch.float32`."""
    name = str(dtype).removeprefix("torch.")
    return _NAMES.get(name, name)


def type_of(name: str) -> Any:
    """Return torch's type for a name, such as `torch.float32` for `float`."""
    return getattr(torch, _TYPES.get(name, name))


def tensor_of(array: Array, name: str, device: str) -> Any:
    """Return an array as a tensor of the named element type on a device. On the CPU a tensor may share the memory of the array."""
    if name in _BITS:
        bits = np.ascontiguousarray(array).view(_BITS[name])
        tensor = torch.from_numpy(bits.reshape(array.shape)).view(type_of(name))
    else:
        tensor = torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
    return tensor.to(device)
