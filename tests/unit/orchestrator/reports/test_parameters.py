from __future__ import annotations

from typing import Any

import pytest

from orchestrator.reports.parameters import assumed_dimensions, job_parameters, varied_paths, written


def work(**changes: Any) -> dict[str, Any]:
    return {"model": {"source": "file:///m.onnx", "name": "m.onnx"}, **changes}


def test_what_the_recipe_swept_is_written_as_the_contract_says() -> None:
    paths = varied_paths({"options.batch_size": [1, 8], "options.threads": [1, 2]}, None, {"graph": "all"})
    job = work(options={"batch_size": 8, "threads": 2, "graph": "all"})
    assert written(job_parameters(job, paths)) == "batch_size=8; threads=2"


def test_options_that_differ_between_the_models_are_parameters_and_the_others_are_not() -> None:
    models = [{"model": "a", "options": {"threads": 4, "graph": "all"}}, {"model": "b", "options": {"graph": "all", "batch_size": 2}}, "c"]
    assert varied_paths(None, models, {"graph": "all"}) == ("options.batch_size", "options.threads")
    assert varied_paths({}, ["a", "b"], {"threads": 1}) == ()
    # these are merged with the recipe's options, key by key
    added = [{"model": "a", "options": {"graph": "all"}}, {"model": "b", "options": {"threads": 1}}]
    assert varied_paths({}, added, {"graph": "all", "threads": 1}) == ()


def test_a_value_that_was_left_to_the_runtime_is_told_apart_from_one_that_was_given() -> None:
    paths = varied_paths({"options.threads": [None, 1]}, None, None)
    assert [written(job_parameters(work(options=options), paths)) for options in ({}, {"threads": None}, {"threads": 1})] == [
        "threads=default",
        "threads=default",
        "threads=1",
    ]


def test_a_value_equal_to_its_default_is_shown_though_the_stored_job_leaves_it_out() -> None:
    assert job_parameters(work(), varied_paths({"options.seed": [0, 7]}, None, None)) == {"seed": "0"}
    assert job_parameters(work(), varied_paths({"inferences": [10, 50]}, None, None)) == {"inferences": "10"}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("options.shapes", {"shapes": {"image": [1, 3, 224, 224]}}, "shapes.image=1x3x224x224"),
        ("options.shapes.image", {"shapes": {"image": [1, 3, 224, 224]}}, "shapes.image=1x3x224x224"),
        ("options.providers", {"providers": ["TensorrtExecutionProvider", "CUDAExecutionProvider"]}, None),
        ("models.1.options.threads", {"threads": 3}, "threads=3"),
        ("options.shapes.input.1", {"shapes": {"input.1": [1, 3]}}, "shapes.input.1=1x3"),
        ("options", {"batch_size": 4, "threads": 1}, "batch_size=4; threads=1"),
        ("options.dims.sequence", {"dims": {"sequence": 128}}, "dims.sequence=128"),
        ("options.values.ids", {"values": {"ids": [0, 30521]}}, "values.ids=[0, 30521]"),
        ("options.values", {"values": {"input.1": [False, True], "branch": True}}, "values.input.1=[false, true]; values.branch=true"),
        ("options.values.mask", {"values": {"mask": "mask.npz"}}, "values.mask=mask.npz"),
        ("options.values.text", {"values": {"text": "a; threads=3"}}, 'values.text="a; threads=3"'),
        ("options.values.text", {"values": {"text": "1"}}, 'values.text="1"'),
        ("options.values.text", {"values": {"text": 1}}, "values.text=1"),
        ("options.values.text", {"values": {"text": "true"}}, 'values.text="true"'),
        ("options.values.text", {"values": {"text": "truth"}}, "values.text=truth"),
    ],
)
def test_a_value_of_any_shape_is_one_readable_text(path: str, value: dict[str, Any], expected: str | None) -> None:
    text = written(job_parameters(work(options=value), varied_paths({path: [None]}, None, None)))
    assert text == (expected or "providers=TensorrtExecutionProvider+CUDAExecutionProvider")


def test_a_long_array_fits_into_a_spreadsheet_s_cell_and_is_told_apart_from_another_one() -> None:
    paths = varied_paths({"options.values.ids": [None]}, None, None)
    one, other = (written(job_parameters(work(options={"values": {"ids": {"array": [0] * 65_535 + [last]}}}), paths)) for last in (1, 2))
    assert len(one) < 300
    assert one != other


def test_models_that_are_called_differently_often_say_so() -> None:
    paths = varied_paths(None, [{"model": "m.onnx"}, {"model": "m.onnx", "inferences": 20}], None)
    assert [job_parameters(work(inferences=inferences), paths) for inferences in (10, 20)] == [{"inferences": "10"}, {"inferences": "20"}]
    assert varied_paths(None, [{"model": "a", "inferences": 20}, {"model": "b", "inferences": 20}], None) == ()


@pytest.mark.parametrize("path", ["on", "devices", "priority", "requires.min_memory_mb", "model", "retries.max_attempts"])
def test_what_is_no_part_of_the_work_has_a_column_of_its_own_or_none(path: str) -> None:
    assert job_parameters(work(), varied_paths({path: [1, 2]}, None, None)) == {}


def test_free_dimensions_that_nobody_sized_are_named() -> None:
    assert written(assumed_dimensions({"assumed_dims": {"sequence": 1, "image[2]": 1}})) == "sequence=1 (assumed); image[2]=1 (assumed)"
    assert assumed_dimensions({}) == {}
    assert assumed_dimensions({"assumed_dims": ["of", "another", "shape"]}) == {}


def test_the_driver_of_a_load_is_named_also_where_it_is_the_default() -> None:
    assert job_parameters({"client": {"type": "redis"}}, ("client.driver",)) == {"driver": "fleetmark"}
    assert job_parameters({"client": {"driver": "redis-benchmark"}}, ("client.driver",)) == {"driver": "redis-benchmark"}
