"""Tests that only registries and plug-ins compare the names of kinds, capabilities and engines. Also tests this check itself."""

from __future__ import annotations

import pytest

from tools.comparisons import comparisons, found


def test_only_registries_and_plug_ins_compare_a_kind_or_a_capability_with_a_name() -> None:
    assert found() == []


@pytest.mark.parametrize(
    "source",
    [
        'if job.kind == "inference": ...',
        'if "inference" != spec.kind: ...',
        'fast = capability in ("cpu.onnx", "gpu.cuda.onnx")',
        'fast = row["capability"] == "cpu.onnx"',
        'if capability.startswith("gpu.cuda"): ...',
        'if model_engine == "onnx": ...',
        'match workload.kind:\n    case "inference": ...',
    ],
)
def test_the_check_sees_what_it_is_for(source: str) -> None:
    assert len(list(comparisons(source))) == 1


OTHERS = ['element.kind == "float"', "kind == other.kind", 'capability == FILLED_BY["cpu"]', 'name == "inference"', 'when == "load"']


@pytest.mark.parametrize("source", OTHERS)
def test_the_check_leaves_other_comparisons_alone(source: str) -> None:
    assert list(comparisons(source)) == []
