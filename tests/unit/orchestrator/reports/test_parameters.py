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
    added = [{"model": "a", "options": {"graph": "all"}}, {"model": "b", "options": {"threads": 1}}]  # to the recipe's, key by key
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
    ],
)
def test_a_value_of_any_shape_is_one_readable_text(path: str, value: dict[str, Any], expected: str | None) -> None:
    text = written(job_parameters(work(options=value), varied_paths({path: [None]}, None, None)))
    assert text == (expected or "providers=TensorrtExecutionProvider+CUDAExecutionProvider")


@pytest.mark.parametrize("path", ["on", "devices", "priority", "requires.min_memory_mb", "model", "retries.max_attempts"])
def test_what_is_no_part_of_the_work_has_a_column_of_its_own_or_none(path: str) -> None:
    assert job_parameters(work(), varied_paths({path: [1, 2]}, None, None)) == {}


def test_free_dimensions_that_nobody_sized_are_named() -> None:
    assert written(assumed_dimensions({"assumed_dims": {"sequence": 1, "image[2]": 1}})) == "sequence=1 (assumed); image[2]=1 (assumed)"
    assert assumed_dimensions({}) == {}
    assert assumed_dimensions({"assumed_dims": ["of", "another", "shape"]}) == {}
