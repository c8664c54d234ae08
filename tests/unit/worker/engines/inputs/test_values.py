"""Tests the values of inputs. Generated values are seeded, plausible and valid for the model; given ones are checked and recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ModelInvalid
from tests.measuring import schedule
from worker.engines.base import Options
from worker.engines.fake import FakeEngine
from worker.engines.inputs import Inputs, make_inputs

Shape = tuple[int | str | None, ...]


def made(folder: Path, inputs: list[tuple[str, str, Shape]], options: Options | None = None, **rows: int) -> Inputs:
    engine = FakeEngine()
    engine.load(schedule(folder, inputs=inputs, table_rows=rows), options or Options(), "fake")
    return make_inputs(engine, options or Options(), folder)


@pytest.fixture
def one(tmp_path: Path) -> Any:
    def fill(name: str, kind: str, shape: Shape, **options: Any) -> NDArray[Any]:
        return made(tmp_path, [(name, kind, shape)], Options(**options)).arrays[name]

    return fill


@pytest.fixture
def refused(tmp_path: Path) -> Any:
    def fill(kind: str, shape: Shape, value: Any, **rows: int) -> str:
        with pytest.raises(ModelInvalid) as caught:
            made(tmp_path, [("x", kind, shape)], Options(values={"x": value}), **rows)
        return caught.value.detail

    return fill


def test_values_of_images_are_between_zero_and_one(one: Any) -> None:
    image = one("image", "float", (1, 3, 32, 32))
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.std() > 0.1


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("float16", "float16"),
        ("double", "float64"),
        ("bfloat16", "uint16"),
        ("float8e5m2", "uint8"),
        ("bool", "bool"),
        ("complex64", "complex64"),
        ("string", "object"),
    ]
    + [(kind, kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")],
)
@pytest.mark.parametrize("shape", [(4, 5), (), (0, 3)])
def test_each_type_has_its_own_values_in_every_shape(one: Any, kind: str, dtype: str, shape: tuple[int, ...]) -> None:
    values = one("x", kind, shape)
    assert isinstance(values, np.ndarray)
    assert values.dtype == np.dtype(dtype)
    assert values.shape == shape


def test_bfloat16_is_the_upper_half_of_a_float32(one: Any) -> None:
    wide = one("x", "float", (50,))
    bits = one("x", "bfloat16", (50,)).astype(np.uint32) << 16
    assert np.all(np.abs(bits.view(np.float32) - wide) <= wide / 128)


def test_token_ids_are_in_any_vocabulary_and_masks_are_ones(one: Any) -> None:
    ids = one("input_ids", "int64", (2, 64))
    assert ids.min() >= 0
    assert ids.max() < 100
    assert len(np.unique(ids)) > 10
    assert np.all(one("attention_mask", "int64", (2, 64)) == 1)
    assert np.all(one("attention_mask", "bool", (2, 64)))
    assert np.all(one("token_type_ids", "int64", (2, 64)) == 0)
    assert one("position_ids", "int64", (1, 4)).tolist() == [[0, 1, 2, 3]]


def test_ids_cover_the_table_that_they_index_and_never_leave_it(tmp_path: Path) -> None:
    inputs = made(tmp_path, [("input_ids", "int64", (2, 200)), ("position_ids", "int64", (1, 9))], input_ids=7, position_ids=5)
    assert set(inputs.arrays["input_ids"].ravel().tolist()) == {0, 1, 2, 3, 4, 5, 6}
    assert inputs.arrays["position_ids"].tolist() == [[0, 1, 2, 3, 4, 4, 4, 4, 4]]
    assert inputs.filled["input_ids"] == "drawn from 0 to 6, as it indexes a table of 7 rows"


def test_a_large_table_is_indexed_all_over(tmp_path: Path) -> None:
    ids = made(tmp_path, [("input_ids", "int64", (2, 200))], input_ids=30_522).arrays["input_ids"]
    assert 20_000 < ids.max() < 30_522


def test_lengths_are_those_of_the_sequence_beside_them(tmp_path: Path) -> None:
    inputs = made(
        tmp_path, [("phonemes", "int64", ("batch", "time")), ("input_lengths", "int64", ("batch",))], Options(dims={"time": 30, "batch": 2})
    )
    assert inputs.arrays["input_lengths"].tolist() == [30, 30]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [(("time", "batch", 3), 30), (("batch", "seq_len"), 30), (("batch", 80, None), 1), ((None, 7), 7), (("batch", 3, 9), 3)],
)
def test_lengths_are_found_in_whatever_order_the_dimensions_stand(tmp_path: Path, shape: Shape, expected: int) -> None:
    sized = {part: 30 for part in shape if part in ("time", "seq_len")}
    inputs = made(tmp_path, [("x", "float", shape), ("lengths", "int64", (2,))], Options(dims=sized))
    assert inputs.arrays["lengths"].tolist() == [expected] * 2


def test_a_single_boolean_is_false_and_warned_of_and_many_are_drawn(tmp_path: Path) -> None:
    inputs = made(tmp_path, [("training", "bool", (1,)), ("flags", "bool", (64,))])
    assert inputs.arrays["training"].tolist() == [False]
    assert 0 < inputs.arrays["flags"].sum() < 64
    (warning,) = inputs.warnings
    assert warning == ("input 'training' was false by rule, and it may steer the model; state it: options.values: {training: …}")


def test_uint8_images_use_all_their_range(one: Any) -> None:
    assert one("image", "uint8", (1, 64, 64, 3)).max() > 200


def test_the_seed_decides_the_values_and_other_inputs_do_not(tmp_path: Path) -> None:
    pair: list[tuple[str, str, Shape]] = [("x", "float", (8,)), ("y", "float", (8,))]
    first, again, other = (made(tmp_path, pair, Options(seed=seed)).arrays for seed in (1, 1, 2))
    assert np.array_equal(first["x"], again["x"])
    assert not np.array_equal(first["x"], other["x"])
    assert not np.array_equal(first["x"], first["y"])
    stated = made(tmp_path, pair, Options(seed=1, values={"x": 5.0})).arrays
    assert np.array_equal(stated["y"], first["y"])


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("bool", True, [True, True, True]),
        ("int64", 7, [7, 7, 7]),
        ("uint64", 2**64 - 1, [2**64 - 1] * 3),
        ("float", 0.5, [0.5, 0.5, 0.5]),
        ("float", 2, [2.0, 2.0, 2.0]),
        ("float16", 0.5, [0.5, 0.5, 0.5]),
        ("string", "Paris", ["Paris", "Paris", "Paris"]),
        ("int32", {"array": [3, 1, 2]}, [3, 1, 2]),
        ("string", {"array": ["a", "b", "c"]}, ["a", "b", "c"]),
        ("bool", {"array": [True, False, True]}, [True, False, True]),
        ("int8", [5, 5], [5, 5, 5]),
        ("bfloat16", 1.0, [0x3F80, 0x3F80, 0x3F80]),
    ],
)
def test_stated_values_are_the_ones_that_are_used(one: Any, kind: str, value: Any, expected: list[Any]) -> None:
    assert one("x", kind, (3,), values={"x": value}).tolist() == expected


def test_a_range_is_drawn_from_with_both_ends(one: Any) -> None:
    assert set(one("x", "int64", (300,), values={"x": [3, 5]}).tolist()) == {3, 4, 5}
    floats = one("x", "float", (300,), values={"x": [-2.0, 2.0]})
    assert -2 <= floats.min() < -1.5
    assert 1.5 < floats.max() <= 2


def test_texts_are_chosen_from_a_list(one: Any) -> None:
    assert set(one("x", "string", (50, 1), values={"x": ["Paris", "Rome"]}).ravel()) == {"Paris", "Rome"}


@pytest.mark.parametrize("name", ["x.npz", "all.npz", "x.npy", "deep/x.npy"])
def test_values_come_from_a_file_beside_the_model(tmp_path: Path, one: Any, name: str) -> None:
    values = np.array([3, 1, 2], dtype=np.int64)
    (tmp_path / "deep").mkdir()
    if name == "all.npz":
        np.savez(tmp_path / name, x=values, y=values * 2)
    elif name.endswith(".npz"):
        np.savez(tmp_path / name, another_name=values)
    else:
        np.save(tmp_path / name, values)
    assert one("x", "int64", (3,), values={"x": name}).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("int64", "many", "options.values.x has a text, but the input is of type int64"),
        ("int64", 0.5, "options.values.x has the value 0.5, but the input is of type int64, which holds whole numbers"),
        ("int8", 300, "has values from 300 to 300, but the input is of type int8: -128 to 127"),
        ("float16", 70_000, "options.values.x has the value 70000, but the input is of type float16, whose largest number is 65504"),
        ("float", {"array": [1.0, 1e39, 2.0]}, "has the value 1e+39, but the input is of type float, whose largest number is 3.40282e+38"),
        ("bfloat16", -1e39, "has the value -1e+39, but the input is of type bfloat16"),
        ("bool", 2, "neither true nor false"),
        ("string", 3, "a value that is no text, but the input is of type string: write numbers in quotes"),
        ("int64", [1, 2, 3], "two numbers are a range [low, high], both ends included"),
        ("int64", [5, 1], "is the range [5, 1], whose low end is above its high end"),
        ("float", {"array": [1.0, 2.0]}, "has the shape [2], but the input is bound with [3]: give options.dims or options.shapes"),
        ("float", {"array": [[1.0], [2.0, 3.0]]}, "has rows of different length"),
        ("int64", "missing.npz", "missing.npz is not beside the model; put it there"),
        ("int64", "../outside.npz", "named by a relative path inside the model's own folder"),
        ("int64", "/etc/x.npz", "named by a relative path inside the model's own folder"),
    ],
)
def test_stated_values_that_do_not_fit_are_refused(refused: Any, kind: str, value: Any, said: str) -> None:
    assert said in refused(kind, (3,), value)


def test_a_file_that_holds_objects_or_nothing_of_that_name_is_refused(tmp_path: Path, refused: Any) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "two.npz", a=np.ones(3), b=np.ones(3))
    assert "without pickled objects" in refused("float", (3,), "objects.npy")
    assert "cannot be read as numpy's" in refused("float", (3,), "text.npz")
    assert "two.npz has no array 'x'; it has a, b" in refused("float", (3,), "two.npz")


def test_stated_indices_beyond_the_table_are_refused_with_the_range(refused: Any) -> None:
    said = refused("int64", (500,), [0, 30_521], x=7)
    assert "but it indexes a table of 7 rows: give [0, 6] or values within it" in said


def test_values_for_an_input_that_the_model_lacks_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"options\.values names 'imagee', which is no input of the model: did you mean 'image'\?"):
        made(tmp_path, [("image", "float", (1,))], Options(values={"imagee": 1.0}))


@pytest.mark.parametrize("kind", ["seq(tensor(float))", "optional(tensor(float))", "map(string,tensor(float))", "int4"])
def test_what_cannot_be_made_up_is_refused_by_name_and_type(one: Any, kind: str) -> None:
    with pytest.raises(ModelInvalid, match=r"input 'x' has the type .* no plausible values"):
        one("x", kind, (1,))


def test_the_report_says_what_was_bound_and_is_the_same_each_time(tmp_path: Path) -> None:
    options = Options(dims={"n": 3}, values={"s": ["a", "b"]})
    signature: list[tuple[str, str, Shape]] = [("x", "float", ("batch", "n")), ("s", "string", ("batch",)), ("k", "int64", ())]
    first, again = (made(tmp_path, signature, options).report({"inputs": [{"name": "x"}, {"name": "s"}, {"name": "k"}]}) for _ in range(2))
    assert first == again
    assert first["batch_size"] == 1
    assert first["dims"] == {"batch": 1, "n": 3}
    assert first["assumed_dims"] == {"batch": 1}
    assert [entry["bound_shape"] for entry in first["inputs"]] == [[1, 3], [1], []]
    assert first["inputs"][1]["values"] == "drawn from 2 values of the recipe"
    assert len({entry["values_sha256"] for entry in first["inputs"]}) == 3
    other = made(tmp_path, signature, Options(dims={"n": 3}, values={"s": ["a", "b"]}, seed=1)).report({"inputs": [{"name": "x"}]})
    assert other["inputs"][0]["values_sha256"] != first["inputs"][0]["values_sha256"]
