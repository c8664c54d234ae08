"""Tests the comparison of campaigns over HTTP, with results that workers sent and that the store keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from orchestrator.operations import comparison
from orchestrator.operations.cancel import cancel_campaign
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.retry import retry_job
from orchestrator.operations.submit import submit_recipe
from shared.ids import job_id
from shared.measurements import Noise
from shared.recipes import parse_recipe
from shared.stats import summarise
from tests.integration.reports import result, started
from tests.unit.orchestrator.verdicts.jobs import QUIET, SIX, A, raw_of, runtime

pytestmark = pytest.mark.both_databases

Register = Callable[..., str]
Measure = Callable[..., str]


def times(factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in SIX)


def _device_of(api: httpx.Client, campaign_id: str) -> str:
    worker_id: str = api.get(f"/api/campaigns/{campaign_id}").json()["jobs"][0]["worker_id"]
    return worker_id


@pytest.fixture
def measure(ctx: Context, register: Register) -> Measure:
    """Return a function that runs a campaign whose jobs have these medians, and returns its id.

    Each job has one thread more than the one before. None stands for a job that fails.
    """
    worker = register()

    def run(*medians: tuple[float, ...] | None, noise: Noise = QUIET, **said: Any) -> str:
        recipe = {"model": "https://models.example/squeezenet.onnx", "on": ["cpu.onnx"]}
        sweep = {"options.threads": list(range(1, len(medians) + 1))}
        campaign = submit_recipe(ctx, parse_recipe(recipe | {"sweep": sweep})).campaign
        for number, values in enumerate(medians, start=1):
            send(campaign.id, number, values, noise, said)
        return campaign.id

    def send(campaign_id: str, number: int, values: tuple[float, ...] | None, noise: Noise, said: dict[str, Any]) -> None:
        name = job_id(campaign_id, number)
        if values is None:
            done = result(name, status="failed", error="no such operator", worker_id=worker)
        else:
            threads = {"threads": {"intra_op": number, "inter_op": 1}}
            whole = {"summary": summarise(raw_of(values)), "noise": noise, "model_sha256": A, "runtime": runtime(**threads | said)}
            done = result(name, worker_id=worker).model_copy(update=whole)
        record(ctx, [started(name, worker_id=worker), done])

    return run


def compared(api: httpx.Client, baseline: str, current: str, **terms: Any) -> dict[str, Any]:
    answer = api.get("/api/compare", params={"baseline": baseline, "current": current, **terms})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_a_campaign_that_got_slower_fails_and_shows_its_evidence(api: httpx.Client, measure: Measure) -> None:
    base, new = measure(SIX, SIX), measure(SIX, times(1.1))
    found = compared(api, base, new)
    assert (found["format"], found["verdict"], found["counts"]) == (1, "FAIL", {"PASS": 1, "FAIL": 1, "INCONCLUSIVE": 0})
    assert (found["baseline"]["campaign_id"], found["current"]["campaign_id"]) == (base, new)
    worst, other = found["pairs"]
    assert (worst["verdict"], worst["baseline_job"], worst["current_job"]) == ("FAIL", job_id(base, 2), job_id(new, 2))
    assert (worst["baseline"], worst["current"], worst["delta"]) == pytest.approx((10.035, 11.0385, 1.0035))
    assert worst["effect"] == pytest.approx(0.1)
    assert worst["effect_low"] < 0.1 < worst["effect_high"]
    assert (worst["p"], worst["p_adjusted"]) == pytest.approx((2 / 924, 4 / 924))
    assert (worst["baseline_repeats"], worst["current_repeats"], worst["device"]) == (6, 6, "device")
    assert other["verdict"] == "PASS"
    assert compared(api, new, base)["verdict"] == "PASS", "what got faster is no regression"


def test_the_terms_change_the_verdict(api: httpx.Client, measure: Measure) -> None:
    base, new, wider = measure(SIX), measure(times(1.03)), measure(times(1.03), version="1.32.0")
    assert compared(api, base, new)["verdict"] == "PASS"
    for threshold in ("2%", "0.02"):
        assert compared(api, base, new, max_regression=threshold)["verdict"] == "FAIL"
    assert compared(api, base, new, max_regression="2%", level=0.001)["verdict"] == "INCONCLUSIVE", "6 repeats are too few for it"
    differs = compared(api, base, wider)
    assert differs["verdict"] == "INCONCLUSIVE"
    (pair,) = differs["pairs"]
    assert pair["reason"].startswith("not comparable: runtime (onnxruntime 1.31.1 in BASE, onnxruntime 1.32.0 in NEW)")
    assert pair["differences"] == [{"fact": "runtime", "baseline": "onnxruntime 1.31.1", "current": "onnxruntime 1.32.0", "allowed": False}]
    allowed = compared(api, base, wider, allow=["runtime", "device,model"])
    assert (allowed["verdict"], allowed["allowed"]) == ("PASS", ["device", "model", "runtime"])
    noisy = measure(SIX, noise=Noise(grade="noisy", reasons=["other work"]))
    assert compared(api, base, noisy)["verdict"] == "INCONCLUSIVE"
    assert compared(api, base, new, metric="load_ms")["verdict"] == "PASS"


def test_what_failed_or_is_missing_is_never_a_pass(api: httpx.Client, measure: Measure) -> None:
    whole, part, broken = measure(SIX, SIX), measure(SIX), measure(SIX, None)
    missing = compared(api, whole, part)
    assert (missing["verdict"], missing["counts"]) == ("INCONCLUSIVE", {"PASS": 1, "FAIL": 0, "INCONCLUSIVE": 1})
    assert missing["pairs"][0]["current_job"] is None
    failed = compared(api, whole, broken)
    assert failed["verdict"] == "INCONCLUSIVE"
    assert failed["pairs"][0]["reason"] == "NEW failed: no such operator"
    added = compared(api, part, whole)
    assert (added["verdict"], added["only_current_total"], added["only_current"][0]["job_id"]) == ("PASS", 1, job_id(whole, 2))


def test_a_job_that_was_retried_is_represented_by_its_new_job(ctx: Context, api: httpx.Client, measure: Measure) -> None:
    base, new = measure(SIX), measure(None)
    assert compared(api, base, new)["verdict"] == "INCONCLUSIVE"
    again = retry_job(ctx, job_id(new, 1)).job.id
    whole = {"summary": summarise(raw_of(SIX)), "noise": QUIET, "model_sha256": A}
    said = runtime(threads={"intra_op": 1, "inter_op": 1})
    done = result(again, worker_id=_device_of(api, new)).model_copy(update=whole | {"runtime": said})
    record(ctx, [started(again, worker_id=done.worker_id), done])
    found = compared(api, base, new)
    assert (found["verdict"], [pair["current_job"] for pair in found["pairs"]]) == ("PASS", [again])


def test_a_result_of_the_version_before_says_what_it_did_not_record(api: httpx.Client, measure: Measure) -> None:
    old, new = measure(SIX, inputs=None, graph_level=None), measure(SIX)
    (pair,) = compared(api, old, new)["pairs"]
    assert pair["verdict"] == "INCONCLUSIVE"
    for fact in ("inputs", "graph"):
        assert f"{fact} is not recorded in BASE" in pair["reason"]


def test_bad_input_is_refused_with_what_to_do(api: httpx.Client, measure: Measure) -> None:
    base, new = measure(SIX), measure(SIX)
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"current": "campaign-000000000000000000"}, 404, "no campaign has the id 'campaign-000000000000000000'"),
        ({"baseline": "last-week"}, 404, "no campaign has the id 'last-week'; GET /api/campaigns lists them"),
        ({"baseline": "\x00" * 500}, 422, "holds a NUL"),
        ({"current": base}, 422, "is also the baseline; compare two different campaigns"),
        *(({"max_regression": text}, 422, f"{text!r} is no share from 0 to 100 %; write 5% or 0.05") for text in ("abc", "-5%", "500%")),
        ({"level": 0.9}, 422, "query.level"),
        ({"metric": "inference_p99_ms"}, 422, "has no value for each repeat"),
        ({"allow": "runtme"}, 422, "did you mean 'runtime'?"),
        ({"max_regresion": "5%"}, 422, "did you mean 'max_regression'?"),
    ]
    for terms, status, words in wrong:
        answer = api.get("/api/compare", params={"baseline": base, "current": new, **terms})
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert api.get("/api/compare", params={"baseline": base}).status_code == 422


def test_a_campaign_that_is_running_cannot_be_compared_yet(ctx: Context, api: httpx.Client, measure: Measure, submit: Any) -> None:
    base, running = measure(SIX), submit(jobs=3).campaign.id
    answer = api.get("/api/compare", params={"baseline": base, "current": running})
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(f"{running} is still running (0 of 3 jobs have ended); wait for it:  fleetmark watch")
    cancel_campaign(ctx, running)
    found = compared(api, running, base)
    assert found["verdict"] == "INCONCLUSIVE"
    assert all(pair["reason"].startswith("BASE was cancelled: ") for pair in found["pairs"])


def test_a_campaign_that_is_too_large_is_refused(api: httpx.Client, measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    base, new = measure(SIX), measure(SIX, SIX)
    monkeypatch.setattr(comparison, "MOST_JOBS", 1)
    answer = api.get("/api/compare", params={"baseline": base, "current": new})
    assert (answer.status_code, answer.json()["error"]) == (413, "TooLarge")
    assert api.get(f"/api/campaigns/{new}/comparison").status_code == 413


def test_a_matrix_shows_each_job_at_its_place(api: httpx.Client, measure: Measure) -> None:
    campaign = measure(SIX, times(0.5), None)
    plain = api.get(f"/api/campaigns/{campaign}/comparison").json()
    assert (plain["format"], plain["by"]) == (1, ["device", "capability", "model"])
    assert [cell["value"] for cell in plain["cells"]] == [None]
    assert "2 jobs with different settings meet here" in plain["cells"][0]["missing"]
    found = api.get(f"/api/campaigns/{campaign}/comparison", params={"by": "parameters,device", "metric": "inference_ms"}).json()
    assert found["axes"] == {"parameters": ["threads=1", "threads=2", "threads=3"], "device": ["device"]}
    assert [cell["value"] for cell in found["cells"]] == pytest.approx([10.035, 5.0175, None])
    assert [cell["of_best"] for cell in found["cells"]] == pytest.approx([2.0, 1.0, None])
    assert found["cells"][2]["missing"] == "the job is failed"
    for query, words in (({"by": "devise"}, "did you mean 'device'?"), ({"metric": "speed"}, "there is no figure 'speed'")):
        refused = api.get(f"/api/campaigns/{campaign}/comparison", params=query)
        assert (refused.status_code, words in refused.json()["detail"]) == (422, True)
