"""Tests that fields are read as protobuf's own library writes them, and that damaged bytes are reported as damaged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from worker.engines.onnx_graph.model import read_tensor
from worker.engines.onnx_graph.wire import NotProtobuf, fields, packed, signed, varint


@pytest.mark.parametrize("number", [0, 1, -1, 127, 128, 2**31, -(2**31), 2**63 - 1, -(2**63)])
def test_numbers_are_those_that_protobuf_wrote(number: int) -> None:
    tensor = TensorProto(dims=[number], int64_data=[number, 7], name="t")
    data = tensor.SerializeToString()
    read = {field: (value, span) for field, value, span in fields(data, (0, len(data)))}
    assert packed(data, read[7][1]) == [number, 7]
    assert signed(read[1][0]) == number or packed(data, read[1][1]) == [number]


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
@pytest.mark.parametrize("values", [[], [5], [1, -2, 3]])
def test_whole_numbers_of_a_constant_are_read_however_they_are_stored(dtype: type, values: list[int]) -> None:
    array: NDArray[Any] = np.array(values, dtype=dtype)
    raw = numpy_helper.from_array(array, "t")
    listed = TensorProto(name="t", data_type=raw.data_type, dims=raw.dims)
    (listed.int64_data if dtype is np.int64 else listed.int32_data).extend(values)
    for tensor in (raw, listed):
        data = tensor.SerializeToString()
        read = read_tensor(data, (0, len(data)))
        assert (read.name, read.dims, read.ints) == ("t", (len(values),), tuple(values))


def test_a_weight_keeps_its_shape_and_none_of_its_elements() -> None:
    data = numpy_helper.from_array(np.ones((300, 40), dtype=np.int64), "w").SerializeToString()
    read = read_tensor(data, (0, len(data)))
    assert (read.dims, read.ints) == ((300, 40), None)


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b"\x0a", b"\x80" * 20, b"\x0b\x00", b"\x09\x00", b"\xff\xff\xff"])
def test_broken_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(NotProtobuf):
        list(fields(data, (0, len(data))))


def test_a_number_without_end_is_refused() -> None:
    with pytest.raises(NotProtobuf):
        varint(b"\x80" * 11, 0, 11)
