"""Tests which guard a workload needs, and that workloads with equal guards share one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import EngineUnavailable
from tests.measuring import Stages, assignment, schedule, supervisor
from worker.runner.plan import GuardPlan, plan_for
from worker.supervisor.supervisor import MOST_GUARDS


def test_capabilities_share_a_guard_if_it_would_be_the_same() -> None:
    assert plan_for("inference", "cpu.onnx") == plan_for("inference", "gpu.directml.onnx")
    assert len({plan_for("inference", name) for name in ("cpu.onnx", "cpu.torch", "cpu.coreml", "fake")}) == 4


def test_a_runtime_that_must_not_be_forked_is_spawned_with_its_variables() -> None:
    plan = plan_for("inference", "cpu.torch")
    assert not plan.forks
    assert dict(plan.environment)["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"


def test_a_guard_imports_what_the_engine_and_the_kind_of_work_need() -> None:
    assert plan_for("inference", "cpu.onnx").preload == (
        *("numpy", "onnxruntime", "worker.engines.onnx"),
        *("worker.engines.inputs", "worker.kinds.inference"),
    )


def test_work_that_runs_in_no_engine_needs_none() -> None:
    assert plan_for("fake", "cpu.abacus") == GuardPlan(("worker.kinds.fake",))


def test_a_guard_gets_the_keys_of_the_service_that_its_work_drives_and_of_no_other() -> None:
    assert plan_for("load", "service.redis").credentials == ("FLEETMARK_WORKER_REDIS_PASSWORD",)
    assert plan_for("load", "api.openai").credentials == ("FLEETMARK_WORKER_OPENAI_API_KEY",)
    assert plan_for("inference", "cpu.onnx").credentials == ()


CANNOT = [("weaving", "cpu.onnx", "of the kind 'weaving'"), ("inference", "cpu.abacus", "no engine runs 'cpu.abacus'")]


@pytest.mark.parametrize(("kind", "capability", "why"), CANNOT)
def test_work_that_this_worker_cannot_do_has_no_guard(kind: str, capability: str, why: str) -> None:
    with pytest.raises(EngineUnavailable, match=why):
        plan_for(kind, capability)


def test_a_worker_keeps_the_guards_that_it_used_last_and_ends_the_others(tmp_path: Path) -> None:
    plans = [GuardPlan(environment=(("FLEETMARK_TEST", str(number)),)) for number in range(MOST_GUARDS)]
    with supervisor(tmp_path) as made:
        first = made._living_guard(plan_for("inference", "fake"))
        others = [made._living_guard(plan) for plan in plans[1:]]
        assert made._living_guard(plan_for("inference", "fake")) is first
        last = made._living_guard(plans[0])
        assert [guard.alive for guard in (first, *others[1:], last)] == [True] * MOST_GUARDS
        assert not others[0].alive
        assert made.run(assignment(schedule(tmp_path)), Stages()).status == "complete"
