"""Tests the expansion of a recipe into cells."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidInput
from shared.recipes import cells as cells_module
from shared.recipes import parse_recipe
from shared.recipes.cells import Cell, cells_of

GOOD: dict[str, Any] = {"model": "m", "on": ["cpu.onnx"]}


def cells(**more: Any) -> list[Cell]:
    content = {**GOOD, **more}
    if "models" in content:
        del content["model"]
    return list(cells_of(parse_recipe(content)))


def refused(**more: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        cells(**more)
    return caught.value


def test_a_sweep_of_two_lists_is_four_different_cells() -> None:
    made = cells(sweep={"options.batch_size": [1, 8], "options.threads": [1, 2]})
    assert [(cell.options.batch_size, cell.options.threads) for cell in made] == [(1, 1), (1, 2), (8, 1), (8, 2)]


def test_an_entrys_options_are_added_to_the_recipes_key_by_key() -> None:
    entry = {"model": "b", "options": {"threads": 4, "shapes": {"y": [2]}, "seed": 0, "graph": None}}
    first, second = cells(models=["a", entry], options={"batch_size": 8, "shapes": {"x": [1]}, "seed": 7, "graph": "all"})
    assert (first.options.batch_size, first.options.threads, first.options.seed, first.options.graph) == (8, None, 7, "all")
    assert (second.options.batch_size, second.options.threads, second.options.seed, second.options.graph) == (8, 4, 0, None)
    assert second.options.shapes == {"x": (1,), "y": (2,)}


def test_a_swept_value_reaches_an_entry_that_sets_something_else() -> None:
    made = cells(models=[{"model": "a", "options": {"graph": "basic"}}], sweep={"options.threads": [1, 2]})
    assert [(cell.options.threads, cell.options.graph) for cell in made] == [(1, "basic"), (2, "basic")]


@pytest.mark.parametrize(
    ("entry", "sweep", "key"),
    [
        ({"options": {"threads": 4}}, {"options.threads": [1, 2]}, "models.1.options.threads"),
        ({"options": {"threads": 4}}, {"options.threads": [1]}, "models.1.options.threads"),
        ({"options": {"threads": None}}, {"options.threads": [1, 2]}, "models.1.options.threads"),
        ({"options": {"threads": 4}}, {"options": [{"threads": 1}, {"threads": 2}]}, "models.1.options.threads"),
        ({"options": {"shapes": {"x": [1]}}}, {"options.shapes.x": [[1], [2]]}, "models.1.options.shapes.x"),
        ({"options": {"shapes": None}}, {"options.shapes.x": [[1], [2]]}, "models.1.options.shapes"),
        ({"inferences": 3}, {"inferences": [1, 2]}, "models.1.inferences"),
        ({}, {"options.threads": [1, 2], "models.1.options.threads": [3, 4]}, "models.1.options.threads"),
    ],
)
def test_a_swept_value_that_an_entry_would_hide_is_refused(entry: dict[str, Any], sweep: dict[str, Any], key: str) -> None:
    error = refused(models=["a", {"model": "b", **entry}], sweep=sweep)
    assert f"{key} is this model's own, so that the swept value would not reach it" in error.detail


@pytest.mark.parametrize(
    ("more", "path", "lost"),
    [
        ({"options": {"dims": {"batch": 8}}, "sweep": {"options.dims": [{"seq": 16}, {"seq": 32}]}}, "options.dims", "options.dims.batch"),
        ({"options": {"threads": 1}, "sweep": {"options": [{"batch_size": 1}, {"threads": 2}]}}, "options", "options.threads"),
        ({"options": {"dims": {"a": 1}}, "sweep": {"options": [{"dims": {"b": 1}}]}}, "options", "options.dims.a"),
        ({"warmup": {"min_s": 0}, "sweep": {"warmup": [{"min_calls": 1}, {"min_calls": 9}]}}, "warmup", "warmup.min_s"),
        (
            {"models": [{"model": "a", "options": {"dims": {"x": 2}}}], "sweep": {"models.0.options.dims": [{"y": 1}, {"y": 2}]}},
            "models.0.options.dims",
            "models.0.options.dims.x",
        ),
    ],
)
def test_a_swept_mapping_that_would_drop_a_key_of_the_recipe_is_refused(more: dict[str, Any], path: str, lost: str) -> None:
    error = refused(**more)
    assert error.detail.startswith(f"sweep path {path!r}: the value ")
    assert f"would drop {lost};" in error.detail


def test_a_swept_mapping_with_all_keys_of_the_recipe_replaces_it() -> None:
    made = cells(options={"dims": {"batch": 8}}, sweep={"options.dims": [{"batch": 1, "seq": 16}, {"batch": 2}]})
    assert [cell.options.dims for cell in made] == [{"batch": 1, "seq": 16}, {"batch": 2}]


def test_null_in_a_sweep_leaves_the_whole_mapping_out() -> None:
    assert [cell.stop is None for cell in cells(stop={"precision": 0.1}, sweep={"stop": [None, {"precision": 0.2}]})] == [True, False]


@pytest.mark.parametrize("outer_first", [True, False])
def test_two_swept_paths_of_which_one_is_a_part_of_the_other_are_refused(outer_first: bool) -> None:
    paths: list[tuple[str, Any]] = [("options.shapes", [{"x": [4], "y": [1]}]), ("options.shapes.x", [[5]])]
    error = refused(sweep=dict(paths if outer_first else reversed(paths)))
    assert "sweep path 'options.shapes.x': 'options.shapes' is swept too, and sets the same key" in error.detail


def test_values_by_name_of_an_entry_and_of_a_sweep_go_together() -> None:
    entry = {"model": "a", "options": {"dims": {"sequence": 128}, "values": {"y": 1}}}
    made = cells(models=[entry], sweep={"options.dims.batch": [1, 8], "options.values.x": [0, [2, 3]]})
    assert [cell.options.dims for cell in made] == [{"batch": batch, "sequence": 128} for batch in (1, 1, 8, 8)]
    assert [cell.options.values for cell in made] == [{"x": 0, "y": 1}, {"x": (2, 3), "y": 1}] * 2


def test_names_of_inputs_may_have_dots_in_them() -> None:
    made = cells(sweep={"options.shapes.input.1": [[1, 3], [8, 3]]})
    assert [cell.options.shapes for cell in made] == [{"input.1": (1, 3)}, {"input.1": (8, 3)}]
    made = cells(options={"shapes": {"input.1": [1, 3]}}, sweep={"options.shapes.input.1.0": [1, 8]})
    assert [cell.options.shapes for cell in made] == [{"input.1": (1, 3)}, {"input.1": (8, 3)}]


def test_a_path_into_one_model_multiplies_that_model_alone() -> None:
    made = cells(models=["a", "b"], sweep={"models.1.options.threads": [1, 2], "models.1.inferences": [3]})
    assert [(cell.entry, cell.options.threads, cell.inferences) for cell in made] == [(0, None, 10), (1, 1, 3), (1, 2, 3)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"sweep": {"options.threads": [1, 2, 1]}}, "the same value is listed twice"),
        ({"sweep": {"timeout_s": [10, 10.0]}}, "timeout_s=10.0 would measure m a second time"),
        ({"sweep": {"options": [{"threads": 1}, {"threads": 1}]}}, "a second time"),
        ({"sweep": {"timeout_s": [10, 10.0]}}, "it means the same as timeout_s=10"),
        ({"models": ["a", "b"], "sweep": {"models.1.inferences": [10, None]}}, "would measure b a second time"),
        ({"stop": {"precision": 0.1}, "sweep": {"repeats": [3, 5]}}, "sweep `stop.max_repeats`"),
        ({"sweep": {"stop.precision": [0.1], "repeats": [3]}}, "sweep `stop.max_repeats`"),
    ],
)
def test_cells_that_would_measure_the_same_are_refused(more: dict[str, Any], said: str) -> None:
    assert said in refused(**more).detail


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("model", "cannot change which models"),
        ("models", "cannot change which models"),
        ("models.0", "cannot change which models"),
        ("models.0.model", "cannot change which models"),
        ("models.0.sha256", "cannot change which models"),
        ("models.0.optoins", "did you mean 'options'"),
        ("models.0.options.thrads", "did you mean 'threads'"),
        ("models.7.options", "'7' is no index of a list of 2"),
        ("optoins.threads", "did you mean 'options'"),
        ("name", "is no part of a job"),
        ("inferences.deeper", "has no key 'deeper'"),
        ("warmup.min_cals", "did you mean 'min_calls'"),
    ],
)
def test_a_path_that_leads_nowhere_names_the_nearest_key(path: str, said: str) -> None:
    assert said in refused(models=["a", "b"], inferences=5, sweep={path: [1]}).detail


def test_a_value_that_is_wrong_is_named_with_its_key() -> None:
    error = refused(models=["a", "b"], sweep={"models.1.options.threads": [1, "two"]})
    assert [field.path for field in error.fields] == ["models.1.options.threads"]
    assert "models.1.options.threads='two'" in error.detail


def test_the_samples_of_each_cell_are_bounded() -> None:
    error = refused(repeats=1000, sweep={"inferences": [10, 1_000_000]})
    assert "the recipe with inferences=1000000 is not valid" in error.detail


AXES = st.fixed_dictionaries(
    {},
    optional={
        "options.threads": st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
        "options.dims.a.b": st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
        "inferences": st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
        "on.0": st.lists(st.sampled_from(["cpu.onnx", "gpu.cuda.onnx"]), min_size=1, max_size=2, unique=True),
        "requires.labels.site": st.lists(st.sampled_from(["lab", "home"]), min_size=1, max_size=2, unique=True),
        "warmup.min_calls": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
        "timeout_s": st.lists(st.integers(1, 9), min_size=1, max_size=2, unique=True),
    },
)


@given(AXES)
def test_the_cells_are_those_of_the_recipe_written_out_by_hand(sweep: dict[str, list[Any]]) -> None:
    """Each cell is compared with a recipe without a sweep, which has the swept values at the places of their paths."""
    by_hand = []
    for values in itertools.product(*sweep.values()):
        content: dict[str, Any] = {**GOOD, "on": ["gpu.rocm.onnx"], "devices": "any", "options": {"graph": "all"}}
        for path, value in zip(sweep, values, strict=True):
            match path:
                case "options.threads":
                    content["options"] = content["options"] | {"threads": value}
                case "options.dims.a.b":
                    content["options"] = content["options"] | {"dims": {"a.b": value}}
                case "on.0":
                    content["on"] = [value]
                case "requires.labels.site":
                    content["requires"] = {"labels": {"site": value}}
                case "warmup.min_calls":
                    content["warmup"] = {"min_calls": value}
                case _:
                    content[path] = value
        by_hand += list(cells_of(parse_recipe(content)))
    assert cells(on=["gpu.rocm.onnx"], devices="any", options={"graph": "all"}, sweep=sweep) == by_hand


@pytest.mark.parametrize(
    ("written", "devices"),
    [
        ({}, ["any"]),
        ({"sweep": {"options.threads": [1]}}, ["any"]),  # there is one cell, which is compared with nothing
        ({"sweep": {"options.threads": [1, 2]}}, ["one", "one"]),
        ({"model": None, "models": ["a", "b"]}, ["one", "one"]),
        ({"sweep": {"options.threads": [1, 2]}, "devices": None}, ["one", "one"]),
        ({"sweep": {"options.threads": [1, 2]}, "devices": "any"}, ["any", "any"]),
        ({"sweep": {"options.threads": [1, 2]}, "devices": ["pi"]}, [("pi",), ("pi",)]),
        ({"sweep": {"devices": [None, "every"]}}, ["one", "every"]),
        ({"devices": "one"}, ["one"]),
    ],
)
def test_a_recipe_that_compares_goes_to_one_device_unless_it_names_devices(written: dict[str, Any], devices: list[object]) -> None:
    assert [cell.devices for cell in cells(**written)] == devices


def test_a_swept_key_is_validated_once_for_each_of_its_values_however_many_models_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    real = cells_module._value

    def count(*arguments: Any) -> Any:
        nonlocal counted
        counted += 1
        return real(*arguments)

    monkeypatch.setattr(cells_module, "_value", count)
    made = cells(models=[f"m{number}" for number in range(500)], sweep={"options.threads": [1, 2], "inferences": [1, 2, 3]})
    assert (len(made), counted) == (3_000, 5)
    assert len({id(cell.options) for cell in made}) == 2
