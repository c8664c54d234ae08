"""Tests the sizes of dimensions. One symbol has one size, the batch is found by name or place, and unknown sizes are 1."""

from __future__ import annotations

import pytest
import yaml

from shared.errors import ModelInvalid
from worker.engines.base import InputSpec, Options
from worker.engines.inputs.dims import Dims, resolve

Shape = tuple[int | str | None, ...]


def specs(**shapes: Shape | None) -> list[InputSpec]:
    return [InputSpec(name, "float", shape) for name, shape in shapes.items()]


def sized(options: Options, **shapes: Shape | None) -> Dims:
    return resolve(specs(**shapes), options)


def refusal(options: Options, **shapes: Shape | None) -> str:
    with pytest.raises(ModelInvalid) as caught:
        sized(options, **shapes)
    return caught.value.detail


DECODER: dict[str, Shape] = {
    "input_ids": ("batch_size", "sequence_length"),
    "attention_mask": ("batch_size", "past_sequence_length + sequence_length"),
    "past": ("batch_size", 12, "past_sequence_length", 64),
}


@pytest.mark.parametrize(
    ("options", "mask", "past"),
    [
        (Options(), (1, 2), (1, 12, 1, 64)),
        (Options(batch_size=4, dims={"past_sequence_length": 7}), (4, 8), (4, 12, 7, 64)),
        (Options(dims={"past_sequence_length": 0, "sequence_length": 16}), (1, 16), (1, 12, 0, 64)),
        (Options(shapes={"past": (2, 12, 5, 64)}), (2, 6), (2, 12, 5, 64)),
    ],
)
def test_sums_are_worked_out_from_the_sizes_of_their_symbols(options: Options, mask: tuple[int, ...], past: tuple[int, ...]) -> None:
    shapes = sized(options, **DECODER).shapes
    assert (shapes["attention_mask"], shapes["past"]) == (mask, past)


def test_a_total_length_is_the_past_and_the_present_unless_it_is_sized() -> None:
    genai: dict[str, Shape] = {**DECODER, "attention_mask": ("batch_size", "total_sequence_length")}
    given = sized(Options(dims={"past_sequence_length": 7, "sequence_length": 2}), **genai)
    assert given.shapes["attention_mask"] == (1, 9)
    assert sized(Options(dims={"total_sequence_length": 20}), **genai).shapes["attention_mask"] == (1, 20)


def test_a_sum_cannot_be_given_itself() -> None:
    said = refusal(Options(dims={"past_sequence_length + sequence_length": 9}), **DECODER)
    assert said.endswith("which is worked out: give past_sequence_length and sequence_length instead")


def test_a_shape_that_contradicts_a_sum_is_refused() -> None:
    said = refusal(Options(shapes={"attention_mask": (1, 9)}), **DECODER)
    assert "makes 'past_sequence_length + sequence_length' 9, but it is 2, since past_sequence_length is 1, sequence_length is 1" in said
    assert said.endswith("give options.dims: {past_sequence_length: …, sequence_length: …}")


def test_a_hyphen_in_a_name_is_no_subtraction() -> None:
    assert sized(Options(dims={"image-width": 9}), x=("n", "image-width")).shapes["x"] == (1, 9)
    assert sized(Options(dims={"width": 9}), x=("n", "width"), y=("n", "width-2")).shapes["y"] == (1, 7)


def test_a_dimension_that_is_named_by_a_number_is_free() -> None:
    """The name "0" (`dim_param: "0"`) was once taken for a size of 0. The model was then measured with no elements at all."""
    assumed = sized(Options(), x=("0", 3), y=("0", "1"))
    assert (assumed.shapes, assumed.assumed) == ({"x": (1, 3), "y": (1, 1)}, {"0": 1, "1": 1})
    assert sized(Options(dims={"0": 5}), x=("0", 3)).shapes["x"] == (5, 3)


def test_a_calculation_that_comes_out_below_nothing_is_refused() -> None:
    assert "'width - 2', which no size fits with width: 1: change options.dims" in refusal(Options(), x=("width",), y=("width - 2",))
    assert "which no size fits with a: 1, b: 0" in refusal(Options(dims={"b": 0}), x=("a", "b"), y=("a / b",))


@pytest.mark.parametrize(
    ("shapes", "bound"),
    [
        ({"x": ("batch", 3)}, {"x": (8, 3)}),
        ({"x": ("time", "batch", 3), "lengths": ("batch",)}, {"x": (1, 8, 3), "lengths": (8,)}),
        ({"x": ("T", "N", 3)}, {"x": (1, 8, 3)}),
        ({"x": ("N", 3, "H", "W")}, {"x": (8, 3, 1, 1)}),
        ({"x": ("BatchSize", "seq")}, {"x": (8, 1)}),
        ({"x": ("batch_size", "n")}, {"x": (8, 1)}),
        ({"x": ("decoder_batch_size", "num_batched_tokens")}, {"x": (8, 1)}),
        ({"x": ("unk__6", 3), "y": ("unk__6",)}, {"x": (8, 3), "y": (8,)}),
        ({"x": (None, 3), "y": (None, 1)}, {"x": (8, 3), "y": (8, 1)}),
        ({"x": (-1, 3)}, {"x": (8, 3)}),
        ({"x": ("batch", 3), "size": (1, 2)}, {"x": (8, 3), "size": (1, 2)}),
        ({"x": ("batch * heads", 4), "y": ("batch", "heads")}, {"x": (8, 4), "y": (8, 1)}),
        ({"x": ("s0", 3), "flag": ()}, {"x": (8, 3), "flag": ()}),
        ({"x": ("0", 3), "y": ("0", "1")}, {"x": (8, 3), "y": (8, 1)}),
        ({"x": ("batch", 3, 9, 9), "boxes": ("n", 4)}, {"x": (8, 3, 9, 9), "boxes": (1, 4)}),
    ],
)
def test_the_batch_size_goes_to_the_batch(shapes: dict[str, Shape], bound: dict[str, tuple[int, ...]]) -> None:
    made = sized(Options(batch_size=8), **shapes)
    assert made.shapes == bound
    assert made.batch_size == 8


@pytest.mark.parametrize(
    ("shapes", "example"),
    [
        ({"x": ("time", "s1", 3)}, "options.dims: {s1: 8}"),
        ({"x": ("unk__6", 3), "y": ("unk__7", 3)}, "options.dims: {unk__6: 8, unk__7: 8}"),
        ({"x": ("encoder_batch", 3), "y": ("decoder_batch", 3)}, "options.dims: {encoder_batch: 8, decoder_batch: 8}"),
        ({"x": ("sequence_length", 3)}, "options.dims: {sequence_length: 8}"),
        ({"ids": ("batch", 77), "pixels": ("N", 3, 64, 64)}, "options.dims: {batch: 8, N: 8}"),
        ({"ids": ("text_batch", 77), "pixels": ("batch", 3, 64, 64)}, "options.dims: {text_batch: 8, batch: 8}"),
    ],
)
def test_a_batch_size_that_could_go_to_several_dimensions_is_refused_with_the_way_to_name_one(
    shapes: dict[str, Shape], example: str
) -> None:
    said = refusal(Options(batch_size=8), **shapes)
    assert f"it is not clear which dimension is the batch: {next(iter(shapes))} is [" in said
    assert said.endswith(f"for example {example}")


@pytest.mark.parametrize("shape", [(1, 3, 224, 224), (1, "n", 4), (1,)])
def test_a_batch_size_on_a_fixed_batch_is_refused_with_the_input_and_its_size(shape: Shape) -> None:
    said = refusal(Options(batch_size=8), image=shape)
    assert said.startswith("options.batch_size is 8, but the model's input 'image' is [1")
    assert "its batch is fixed at 1. Leave batch_size out" in said


def test_a_batch_size_that_is_the_fixed_one_is_fine() -> None:
    made = sized(Options(batch_size=4), image=(4, 3, 8, 8), scale=(1,))
    assert (made.shapes["image"], made.batch_size) == ((4, 3, 8, 8), 4)


def test_a_batch_size_for_scalars_is_refused() -> None:
    assert "no input of the model has a batch dimension" in refusal(Options(batch_size=2), x=())


@pytest.mark.parametrize(
    ("shapes", "batch"),
    [({"x": (2, 3)}, 2), ({"x": (1, 3, 8, 8)}, 1), ({"x": (5, 1, 3)}, None), ({"x": (4,)}, None), ({"x": (2, 3), "y": (4, 3)}, None)],
)
def test_a_fixed_batch_is_reported_only_where_it_is_clearly_one(shapes: dict[str, Shape], batch: int | None) -> None:
    assert sized(Options(), **shapes).batch_size == batch


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            Options(shapes={"x": (2, 3), "y": (4, 3)}),
            "options.shapes.y makes the dimension 'b' 4, but options.shapes.x makes it 2: one symbol has one size in all inputs",
        ),
        (Options(dims={"b": 5}, shapes={"x": (2, 3)}), "options.shapes.x makes the dimension 'b' 2, but options.dims.b makes it 5"),
        (Options(dims={"b": 5}, batch_size=2), "options.batch_size makes the dimension 'b' 2, but options.dims.b makes it 5"),
        (Options(dims={"batsch": 5}), "options.dims names 'batsch', which is no free dimension of the model: Known: b, c"),
        (Options(dims={"cc": 5}), "options.dims names 'cc', which is no free dimension of the model: did you mean 'c'? Known: b, c"),
        (Options(shapes={"xx": (1,)}), "options.shapes names 'xx', which is no input of the model: did you mean 'x'?"),
        (Options(shapes={"x": (1, 2, 3)}), "options.shapes.x is [1, 2, 3], but the model's input 'x' is float [b, 3]"),
        (Options(shapes={"x": (1, 4)}), "options.shapes.x is [1, 4], but the model's input 'x' is float [b, 3]"),
        (Options(shapes={"y": (1, -2)}), "options.shapes.y is [1, -2]; a size is 0 or more"),
        (Options(dims={"b": 2**20, "c": 2**20}), "input 'y' of shape [1048576, 1048576] has more than 536870912 elements"),
    ],
)
def test_options_that_contradict_the_model_or_each_other_are_refused(options: Options, said: str) -> None:
    assert said in refusal(options, x=("b", 3), y=("b", "c"))


def test_a_size_without_a_symbol_to_give_it_to_asks_for_the_shape() -> None:
    assert "the model has none; its unnamed dimensions need options.shapes" in refusal(Options(dims={"h": 5}), x=(None, 3))


def test_an_unnamed_batch_and_a_shape_agree_or_are_refused() -> None:
    assert sized(Options(batch_size=2, shapes={"x": (2, 7)}), x=(None, None), y=(None, 3)).shapes == {"x": (2, 7), "y": (2, 3)}
    assert "options.batch_size is 3, but options.shapes.x begins with 2" in refusal(
        Options(batch_size=3, shapes={"x": (2, 7)}), x=(None, None)
    )


def test_an_input_of_unknown_rank_asks_for_its_shape_and_takes_it() -> None:
    assert refusal(Options(), x=None) == "input 'x' does not say its shape: give options.shapes: {x: […]}"
    assert sized(Options(shapes={"x": (2, 0, 5)}), x=None).shapes == {"x": (2, 0, 5)}


def test_what_nobody_sized_is_one_and_said_to_be() -> None:
    made = sized(Options(dims={"h": 9}), image=("batch", 3, "h", None), n=(0, "k"))
    assert made.shapes == {"image": (1, 3, 9, 1), "n": (0, 1)}
    assert made.sizes == {"batch": 1, "h": 9, "k": 1}
    assert made.assumed == {"batch": 1, "k": 1, "image[3]": 1}


@pytest.mark.parametrize(
    ("shapes", "warning"),
    [
        (
            {"image": ("batch", 3, "H", "W")},
            "input 'image' was measured with H = 1 and W = 1, dimensions that nobody sized, so this is no image",
        ),
        ({"image": ("batch", 3, "H", "W")}, "give options.dims: {H: 224, W: 224}"),
        ({"image": (1, None, None, 3)}, "give options.shapes: {image: […]}"),
        (
            {"x": ("batch", "sequence_length")},
            "with sequence_length = 1, a dimension that nobody sized, so this is no sequence of a real size",
        ),
        ({"boxes": (1, "boxes", 4)}, "with boxes = 1, a dimension that nobody sized"),
    ],
)
def test_an_image_or_a_sequence_that_became_one_is_warned_of(shapes: dict[str, Shape], warning: str) -> None:
    (said,) = sized(Options(), **shapes).warnings
    assert warning in said


@pytest.mark.parametrize("shapes", [{"x": ("batch", 4)}, {"x": (1, 3, 8, 8)}, {"x": ("batch", 3, 8, 8)}, {"x": ()}])
def test_a_batch_of_one_is_nothing_to_warn_of(shapes: dict[str, Shape]) -> None:
    assert sized(Options(), **shapes).warnings == []


def test_a_symbol_is_warned_of_once() -> None:
    assert len(sized(Options(), ids=("batch", "sequence"), mask=("batch", "sequence")).warnings) == 1


def test_a_batch_that_many_inputs_have_without_a_name_is_assumed_once() -> None:
    columns: dict[str, Shape] = {"age": (None, 1), "income": (None, 1), "image": (None, 3, None)}
    assert sized(Options(), **columns).assumed == {"batch_size": 1, "image[2]": 1}
    assert sized(Options(shapes={"age": (4, 1)}), **columns).assumed == {"income[0]": 1, "image[0]": 1, "image[2]": 1}
    assert sized(Options(), age=(None, 1)).assumed == {"age[0]": 1}


def test_unknown_ranks_are_asked_for_all_at_once_and_before_the_batch() -> None:
    assert refusal(Options(batch_size=3), x=None) == "input 'x' does not say its shape: give options.shapes: {x: […]}"
    assert refusal(Options(), x=None, y=None).endswith("give options.shapes: {x: […], y: […]}")


def test_a_batch_size_goes_with_the_shape_that_is_given_to_an_input_of_unknown_rank() -> None:
    made = sized(Options(batch_size=3, shapes={"x": (3, 2)}), x=None)
    assert (made.shapes, made.batch_size) == ({"x": (3, 2)}, 3)
    said = refusal(Options(batch_size=3, shapes={"x": (4, 2)}), x=None)
    assert said.endswith("options.shapes.x begins with 4: leave batch_size out, or begin the shape with 3")


@pytest.mark.parametrize("shape", [(3, "height", "width"), (5, 1, 3)])
def test_a_batch_size_that_happens_to_be_the_channels_or_steps_is_no_batch(shape: Shape) -> None:
    size = shape[0]
    assert isinstance(size, int)
    said = refusal(Options(batch_size=size), image=shape)
    assert "may as well be its channels or its steps. Leave batch_size out" in said
    assert sized(Options(batch_size=1), x=(1, "T", 8)).batch_size == 1
    assert sized(Options(batch_size=4), x=(4, "T", 8), mask=(4, "T")).batch_size == 4


def test_an_image_without_a_batch_is_warned_of_as_an_image() -> None:
    (said,) = sized(Options(), image=(3, "height", "width")).warnings
    assert "height = 1 and width = 1, dimensions that nobody sized, so this is no image" in said


def test_a_symbol_that_an_input_has_twice_is_warned_of_once() -> None:
    (said,) = sized(Options(), x=("batch", "seq", "seq")).warnings
    assert "was measured with seq = 1, a dimension that nobody sized" in said


@pytest.mark.parametrize("symbol", ["seq, max", "[seq]", "seq: 1", "no", "seq/2.len", "шаги", "?seq"])
def test_advice_is_yaml_whatever_a_dimension_is_called(symbol: str) -> None:
    said = refusal(Options(batch_size=8), x=("time", symbol, 3), y=("tokens", 3))
    advice = said[said.index("{", said.index("for example")) :]
    assert list(yaml.safe_load(advice)) in ([symbol], ["time"], ["tokens"])
    (warned, *_) = sized(Options(), x=("batch", symbol, 3)).warnings
    assert yaml.safe_load(warned[warned.index("{") :]) == {symbol: 128}
