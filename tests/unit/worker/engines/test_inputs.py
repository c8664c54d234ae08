"""Inputs follow the signature, are seeded and plausible; options that do not fit the model are refused."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import ModelInvalid
from worker.engines.base import InputSpec, Options
from worker.engines.inputs import make_inputs, resolve_shape


def one(name: str, kind: str, shape: tuple[int | str | None, ...] | None, options: Options | None = None) -> np.ndarray:
    return np.asarray(make_inputs([InputSpec(name, kind, shape)], options or Options())[name])


def test_images_lie_between_nought_and_one() -> None:
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
    ]
    + [(kind, kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")],
)
def test_each_type_has_its_own_values(kind: str, dtype: str) -> None:
    values = one("x", kind, (4, 5))
    assert values.dtype == np.dtype(dtype)
    assert values.shape == (4, 5)


def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    wide = one("x", "float", (50,))
    bits = one("x", "bfloat16", (50,)).astype(np.uint32) << 16
    assert np.all(np.abs(bits.view(np.float32) - wide) <= wide / 128)


def test_token_ids_are_in_any_vocabulary_and_masks_are_ones() -> None:
    ids = one("input_ids", "int64", (2, 64))
    assert ids.min() >= 0
    assert ids.max() < 100
    assert len(np.unique(ids)) > 10
    assert np.all(one("attention_mask", "int64", (2, 64)) == 1)
    assert np.all(one("attention_mask", "bool", (2, 64)))
    assert np.all(one("token_type_ids", "int64", (2, 64)) == 0)
    assert one("position_ids", "int64", (1, 4)).tolist() == [[0, 1, 2, 3]]


def test_uint8_images_use_all_their_range() -> None:
    assert one("image", "uint8", (1, 64, 64, 3)).max() > 200


def test_the_seed_decides_the_values() -> None:
    first, again, other = (one("x", "float", (8,), Options(seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        (("batch", 3, None, "w"), Options(), (1, 3, 1, 1)),
        (("batch", 3), Options(batch_size=8), (8, 3)),
        ((1, "n"), Options(batch_size=8), (1, 1)),
        (("n", "m"), Options(batch_size=8, shapes={"x": (2, 5)}), (2, 5)),
        ((), Options(), ()),
        ((-1, 4), Options(), (1, 4)),
    ],
)
def test_symbolic_dimensions_are_one_or_what_the_recipe_says(
    shape: tuple[int | str | None, ...], options: Options, expected: tuple[int, ...]
) -> None:
    assert resolve_shape(InputSpec("x", "float", shape), options) == expected


@pytest.mark.parametrize("wanted", [(1, 3), (1, 4, 8), (1, 3, -8)])
def test_a_shape_that_contradicts_the_model_is_refused_with_what_the_model_has(wanted: tuple[int, ...]) -> None:
    with pytest.raises(ModelInvalid, match=r"options\.shapes\.x is \[.*\], but the model's input 'x' is float \['n', 3, 'w'\]"):
        resolve_shape(InputSpec("x", "float", ("n", 3, "w")), Options(shapes={"x": wanted}))


def test_an_input_that_the_model_lacks_is_refused_with_the_nearest() -> None:
    with pytest.raises(ModelInvalid, match=r"names 'imagee', which is no input of the model: did you mean 'image'\?"):
        make_inputs([InputSpec("image", "float", (1,))], Options(shapes={"imagee": (1,)}))


@pytest.mark.parametrize("kind", ["string", "seq(tensor(float))", "optional(tensor(float))", "map(int64,tensor(float))"])
def test_what_cannot_be_made_up_is_refused_by_name_and_type(kind: str) -> None:
    with pytest.raises(ModelInvalid, match=r"input 'x' has the type .* no plausible values"):
        one("x", kind, (1,))


def test_an_input_without_a_rank_asks_for_a_shape() -> None:
    with pytest.raises(ModelInvalid, match=r"give options\.shapes\.x"):
        one("x", "float", None)


def test_a_monstrous_shape_is_refused_before_it_is_made() -> None:
    with pytest.raises(ModelInvalid, match="more than 536870912 elements"):
        one("x", "float", ("n", 100_000), Options(batch_size=65_536))
