"""Tests what the database stores of a job's workload: everything, with a format number, readable for every version."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.domain.stored import (
    FORMAT,
    Unreadable,
    read_requirements,
    read_workload,
    shown_options,
    shown_workload,
    timeout_of,
    written,
)
from shared.engine_options import EngineOptions
from shared.inputs import Companion, ModelRef
from shared.recipes import Requirements
from shared.repetition import StopRule, Warmup
from shared.workloads import inference_of, inference_workload

MODEL = ModelRef(source="https://models.example/a.onnx", name="a.onnx")

# The first version wrote it in this form. It left out values that equalled their defaults.
OLD: dict[str, Any] = {"model": {"source": "https://models.example/a.onnx", "name": "a.onnx"}}
OLD_PARTS: dict[str, Any] = OLD | {"warmup": {"min_calls": 3}, "stop": {"precision": 0.05}, "options": {"threads": 2}, "timeout_s": 60}


def test_a_job_of_the_first_format_keeps_the_defaults_it_was_submitted_with() -> None:
    assert (
        json.loads(read_workload(OLD).model_dump_json()).items()
        >= {
            "inferences": 10,
            "repeats": 5,
            "loads": 0,
            "warmup": {"min_calls": 10, "min_s": 1.0, "max_s": 30.0},
            "stop": None,
            "timeout_s": 3600.0,
        }.items()
    )
    found = read_workload(OLD_PARTS)
    assert found.warmup == Warmup(min_calls=3, min_s=1.0, max_s=30.0)
    assert found.stop == StopRule(precision=0.05, max_repeats=20, budget_s=600)
    assert (inference_of(found).options.threads, inference_of(found).options.seed, found.timeout_s) == (2, 0, 60)


def test_what_is_written_names_its_format_and_every_field() -> None:
    """All fields are stored, so that a later change of a default does not change a submitted job."""
    plain = written(inference_workload(model=MODEL))
    assert plain["format"] == FORMAT == 2
    assert plain.keys() == {"format", "model", "inferences", "loads", "options", "repeats", "warmup", "stop", "timeout_s"}
    assert plain["options"].keys() == set(EngineOptions.model_fields)
    assert plain["warmup"] == {"min_calls": 10, "min_s": 1.0, "max_s": 30.0}
    assert written(Requirements()).keys() == {"format", *Requirements.model_fields}


def test_what_is_written_is_read_back_as_it_was() -> None:
    companion = Companion(name="weights/a.bin", sha256="0" * 64, size=3)
    model = ModelRef(source="sha256:" + "1" * 64, name="a.onnx", sha256="1" * 64, size=9, companions=(companion,))
    options = EngineOptions(providers=("CPUExecutionProvider",), shapes={"x": (1, 3)}, seed=7)
    work = inference_workload(model=model, inferences=3, stop=StopRule(precision=0.1), options=options)
    assert read_workload(json.loads(json.dumps(written(work)))) == work
    asked = Requirements(min_memory_mb=100, labels={"rack": "b"})
    assert read_requirements(json.loads(json.dumps(written(asked)))) == asked
    assert read_requirements({"labels": {"rack": "b"}, "min_memory_mb": 100}) == asked, "of the first format"
    assert read_requirements({}) == Requirements()


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (None, "is NoneType, not an object"),
        ([], "is list, not an object"),
        ({"format": 3} | OLD, "has format 3; this version reads formats 1 to 2: a newer one wrote it"),
        ({"format": "two"} | OLD, "has format 'two'"),
        ({"format": 2} | OLD | {"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"inferences": 3}, "model.source: Field required"),
        (OLD | {"model": "a.onnx"}, "model: Input should be"),
        (OLD | {"inferences": 0}, "inferences: Input should be greater than or equal to 1"),
        (OLD | {"options": {"graph": "wild"}}, "options.graph"),
    ],
)
def test_what_cannot_be_read_says_why(stored: Any, why: str) -> None:
    with pytest.raises(Unreadable) as raised:
        read_workload(stored)
    assert why in str(raised.value)
    assert isinstance(shown_workload(stored), dict), "it is shown all the same"


@pytest.mark.parametrize(
    ("stored", "seconds"),
    [
        (OLD, 3_600),
        (OLD_PARTS, 60),
        (None, 3_600),
        ([1], 3_600),
        ({"timeout_s": "soon"}, 3_600),
        ({"timeout_s": None}, 3_600),
        ({"timeout_s": -1}, 3_600),
        ({"timeout_s": float("nan")}, 3_600),
        ({"timeout_s": float("inf")}, 3_600),
    ],
)
def test_a_deadline_does_not_depend_on_the_rest_of_a_workload(stored: Any, seconds: float) -> None:
    assert timeout_of(stored) == seconds


def test_options_are_shown_as_they_were_given() -> None:
    assert shown_options(written(inference_workload(model=MODEL, options=EngineOptions(threads=2)))["options"]) == {"threads": 2}
    assert shown_options({"threads": 2}) == {"threads": 2}
    assert shown_options(None) == {}
