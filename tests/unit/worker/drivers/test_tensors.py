"""Tests how the tensors of a request follow from what a server says about its model."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

import numpy as np
import pytest

from shared.errors import ModelInvalid
from worker.drivers.tensors import TYPES, Tensor, body_of, tensors_of, values_of


def metadata(*inputs: tuple[str, str, list[int]]) -> dict[str, Any]:
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in inputs]}


def shapes(said: dict[str, Any], *, batched: bool = False, batch_size: int = 1, payload_bytes: int = 0) -> list[tuple[int, ...]]:
    return [one.shape for one in tensors_of(said, batched=batched, batch_size=batch_size, payload_bytes=payload_bytes)]


def test_free_dimensions_are_one_and_the_first_is_the_batch_of_a_model_that_takes_several() -> None:
    said = metadata(("A", "FP32", [-1, 3, -1]), ("B", "INT64", [-1, 2]))
    assert shapes(said) == [(1, 3, 1), (1, 2)]
    assert shapes(said, batched=True, batch_size=8) == [(8, 3, 1), (8, 2)]
    with pytest.raises(ModelInvalid, match="batch_size is 8, and the model takes one input"):
        shapes(said, batch_size=8)


def test_the_payload_stretches_the_first_free_dimension_and_no_batch() -> None:
    said = metadata(("A", "FP32", [-1, 3, -1]), ("B", "INT64", [-1, 2]))
    found = tensors_of(said, batched=True, batch_size=2, payload_bytes=1_000)
    assert [one.shape for one in found] == [(2, 3, 41), (2, 2)]
    assert sum(one.size for one in found) >= 1_000 > sum(one.size for one in found) - 24
    assert shapes(said, batched=True, batch_size=2, payload_bytes=20) == [(2, 3, 1), (2, 2)], "it is larger already"


def test_the_payload_of_a_model_of_texts_is_the_length_of_a_text() -> None:
    (text,) = tensors_of(metadata(("T", "BYTES", [2])), batched=False, batch_size=1, payload_bytes=1_000)
    assert (text.shape, text.text_bytes, text.size) == ((2,), 496, 1_000)


@pytest.mark.parametrize(
    ("said", "payload", "message"),
    [
        (metadata(("A", "FP32", [4])), 100, "the inputs of the model have 16 bytes without a free dimension"),
        (metadata(("A", "COMPLEX", [4])), 0, "has the type COMPLEX; this version knows BOOL"),
        (metadata(), 0, "has no inputs"),
        (metadata(("A", "INT8", [-1])), 2**29, "would have too many elements"),
    ],
)
def test_what_cannot_be_sent_is_one_sentence(said: dict[str, Any], payload: int, message: str) -> None:
    with pytest.raises(ModelInvalid, match=message):
        shapes(said, payload_bytes=payload)


@pytest.mark.parametrize("datatype", [name for name in TYPES if name not in ("BYTES", "BF16")])
def test_values_have_the_form_of_their_type_and_are_drawn_by_seed(datatype: str) -> None:
    tensor = Tensor("A", datatype, (3, 5))
    content = values_of(tensor, Random(1))
    assert len(content) == tensor.size
    kind = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}.get(datatype, datatype.lower())
    values = np.frombuffer(content, kind)
    assert len(values) == 15
    assert len(set(values.tolist())) > 1
    assert values.min() >= 0
    assert values.max() < (1 if datatype.startswith("FP") else 10)
    assert content == values_of(tensor, Random(1)) != values_of(tensor, Random(2))


def test_a_bf16_is_the_upper_half_of_a_float32() -> None:
    content = values_of(Tensor("A", "BF16", (200,)), Random(1))
    values = np.frombuffer(b"".join(b"\0\0" + content[place : place + 2] for place in range(0, 400, 2)), "<f4")
    assert 0 <= values.min() < 0.1
    assert 0.9 < values.max() <= 1


def test_a_binary_body_says_its_sizes_and_a_json_body_holds_the_values() -> None:
    tensors = [Tensor("A", "FP32", (1, 2)), Tensor("T", "BYTES", (1,), text_bytes=3)]
    body, length = body_of(tensors, ["O"], Random(1), binary=True)
    assert length is not None
    head = json.loads(body[:length])
    assert [one["parameters"]["binary_data_size"] for one in head["inputs"]] == [8, 7]
    assert head["outputs"] == [{"name": "O", "parameters": {"binary_data": True}}]
    assert struct.unpack("<I", body[length + 8 : length + 12]) == (3,)
    same, none = body_of(tensors, ["O"], Random(1), binary=False)
    assert none is None
    plain = json.loads(same)
    assert plain["inputs"][0]["data"] == pytest.approx(struct.unpack("<2f", body[length : length + 8]))
    assert plain["inputs"][1]["data"] == [body[-3:].decode()]
    assert json.loads(body_of([Tensor("B", "BOOL", (2,))], [], Random(1), binary=False)[0])["inputs"][0]["data"] in (
        [a, b] for a in (True, False) for b in (True, False)
    )
    with pytest.raises(ModelInvalid, match="which JSON cannot hold"):
        body_of([Tensor("A", "FP16", (1,))], [], Random(1), binary=False)
