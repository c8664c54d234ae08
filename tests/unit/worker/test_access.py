"""Tests what a gray box and a black box offer, start and see."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.clock import FakeClock
from shared.errors import EngineUnavailable
from shared.figures import Outcome
from shared.protocol.messages import Assignment
from shared.recipes import load_recipe
from shared.recipes.cells import cells_of
from shared.telemetry import RUNTIME_KEY
from shared.workloads import Workload
from tests.file_server import file_server
from tests.measuring import CAMPAIGN, Stages, log_for, supervisor
from worker.access import ACCESS
from worker.agent.abilities import abilities
from worker.agent.capabilities import offered, offers
from worker.agent.checks import _engines
from worker.agent.info import describe
from worker.cli import _telemetry
from worker.hardware import Hardware, detect
from worker.kinds.base import Derived
from worker.samplers.registry import default_samplers, told_by_services
from worker.settings import load_settings
from worker.supervisor.idle_power import IdlePower
from worker.supervisor.outcome import Outcome as Ended
from worker.supervisor.telemetry import Telemetry

PAGE = "http://127.0.0.1:9/metrics"


@pytest.fixture(scope="module")
def here() -> Hardware:
    return detect()


def job(text: str) -> Assignment:
    cell = next(cells_of(load_recipe(text)))
    workload = Workload(spec=cell.spec(), target=cell.target(), repeats=1)
    return Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability=cell.on[0], workload=workload)


def run(folder: Path, kind: str, text: str) -> Ended:
    access = ACCESS[kind]
    telemetry = _telemetry(load_settings(worker_type=kind), access)
    with supervisor(folder, telemetry=telemetry, access=access) as made:
        one = job(text)
        return made.run(one, Stages(), log_for(one))


@pytest.mark.parametrize("kind", ["gray_box", "black_box"])
def test_a_box_that_cannot_be_looked_into_offers_requests_to_services_only(here: Hardware, kind: str) -> None:
    names = offered(here, ACCESS[kind])
    assert {name.partition(".")[0] for name in names} == {"api", "service"}
    why = next(offer.why for offer in offers(here, ACCESS[kind]) if offer.capability == "cpu.onnx")
    assert f"FLEETMARK_WORKER_TYPE={kind}" in why
    said = abilities(here, names, ACCESS[kind])
    assert (said["services"], said["containers"]) == ({}, "")
    assert _engines(here, ACCESS[kind]).ok
    assert "cpu.onnx" in offered(here, ACCESS["white_box"])


def test_the_info_of_a_worker_names_the_figures_that_it_can_give(here: Hardware, tmp_path: Path) -> None:
    def metrics(kind: str, url: str | None = None) -> list[str]:
        settings = load_settings(worker_type=kind, worker_cache_dir=tmp_path, worker_metrics_url=url)
        body = describe(here, settings, agent_id="", version="1")
        assert body["agent_type"] == kind
        found: list[str] = body["system_info"]["metrics"]
        return found

    assert metrics("black_box", PAGE) == ["latency", "throughput"]
    assert metrics("gray_box") == ["latency", "throughput", "service_metrics"]
    assert metrics("white_box")[:3] == ["latency", "throughput", "memory_usage"]


def test_a_gray_box_reads_the_metrics_of_the_service_and_nothing_of_its_device() -> None:
    gray = _telemetry(load_settings(worker_type="gray_box", worker_metrics_url=PAGE), ACCESS["gray_box"])
    assert (gray.metrics_url, gray.hz, gray.idle_s) == (PAGE, 10, 0)
    assert told_by_services(default_samplers("redis")) == ("prometheus", "redis")
    black = _telemetry(load_settings(worker_type="black_box", worker_metrics_url=PAGE), ACCESS["black_box"])
    assert (black.hz, black.metrics_url) == (0, "")


def test_every_figure_of_the_device_is_null_with_that_reason() -> None:
    options = _telemetry(load_settings(worker_type="black_box"), ACCESS["black_box"])
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    telemetry = Telemetry(clock, options, IdlePower(clock, 0), "service.http")
    summary, facts = telemetry.added_to(Derived("said", outcome=Outcome(headline="x", figures=())), [], "load")
    assert summary.outcome is not None
    assert {figure.missing for figure in summary.outcome.figures} == {ACCESS["black_box"].hidden}
    assert all(figure.value is None for figure in summary.outcome.figures)
    assert facts[RUNTIME_KEY]["energy"]["missing"] == ACCESS["black_box"].hidden


@pytest.mark.long
def test_what_a_black_box_cannot_see_is_null_with_that_reason(tmp_path: Path) -> None:
    with file_server(index__html=b"hello") as server:
        outcome = run(tmp_path, "black_box", f"service: {{type: http, address: '{server.url}/index.html'}}\nload: {{count: 20}}\n")
    assert (outcome.status, outcome.error) == ("complete", "")
    assert outcome.figures is not None
    figures = {figure.name: figure for figure in outcome.figures.figures}
    assert figures["requests_per_s"].value is not None
    energy = next(figure for name, figure in figures.items() if name.startswith("energy"))
    assert (energy.value, energy.missing) == (None, "not visible: this worker is a black box (FLEETMARK_WORKER_TYPE=black_box)")


def test_a_black_box_starts_no_service_even_for_an_orchestrator_that_does_not_know_its_type(tmp_path: Path) -> None:
    outcome = run(tmp_path, "black_box", "service: {type: redis}\n")
    assert outcome.status == "failed"
    assert "this worker is a black box and starts no service" in outcome.error
    with pytest.raises(EngineUnavailable, match=r"cpu\.onnx is not for this worker"):
        ACCESS["black_box"].check("cpu.onnx", starts_service=False)
