"""Tests the metrics that an operator needs, and that the alert rules in deploy/ use metrics that exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.domain.buckets import BOUNDS, DURATION, Observation, bucket_of
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.registry.histograms import Histograms
from shared.clock import FakeClock
from shared.ids import job_id
from shared.protocol import keys
from tests.integration.reports import result, started

Submit = Callable[..., Submitted]
RULES = Path(__file__).resolve().parents[3] / "deploy" / "prometheus"


def samples(api: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = api.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(api: httpx.Client, name: str, **labels: str) -> float | None:
    return samples(api).get((name, frozenset(labels.items())))


def test_a_value_is_counted_in_the_first_bucket_that_holds_it() -> None:
    assert [bucket_of(seconds) for seconds in (0.0, 1.0, 1.1, BOUNDS[-1], BOUNDS[-1] + 1)] == [0, 0, 1, len(BOUNDS) - 1, len(BOUNDS)]


@pytest.mark.both_databases
def test_durations_and_waits_of_jobs_are_counted_once(
    api: httpx.Client, ctx: Context, submit: Submit, register: Callable[..., str], clock: FakeClock
) -> None:
    register()
    campaign = str(submit(jobs=2).campaign.id)
    top_up(ctx)
    clock.advance(20)
    first, second = (job_id(campaign, number) for number in (1, 2))
    done = result(first).model_copy(update={"started_at": 100.0, "ended_at": 190.0})
    record(ctx, [started(first), done])
    record(ctx, [started(first), done])  # the same messages arrive twice
    record(ctx, [result(second, status="failed", error="it broke")])
    labels = {"capability": "cpu.onnx", "status": "complete"}
    counted = {bound: value(api, "fleetmark_job_duration_seconds_bucket", le=bound, **labels) for bound in ("60.0", "120.0", "+Inf")}
    assert counted == {"60.0": 0, "120.0": 1, "+Inf": 1}
    assert value(api, "fleetmark_job_duration_seconds_sum", **labels) == 90
    assert value(api, "fleetmark_job_duration_seconds_count", capability="cpu.onnx", status="failed") == 1
    assert value(api, "fleetmark_job_queue_wait_seconds_sum", capability="cpu.onnx") == 20
    assert value(api, "fleetmark_job_queue_wait_seconds_bucket", capability="cpu.onnx", le="15.0") == 0
    assert value(api, "fleetmark_job_queue_wait_seconds_bucket", capability="cpu.onnx", le="30.0") == 1


def test_the_oldest_pending_job_and_the_lanes_that_nobody_serves_are_told(
    api: httpx.Client, submit: Submit, register: Callable[..., str], clock: FakeClock
) -> None:
    assert value(api, "fleetmark_oldest_pending_job_age_seconds") == 0
    submit(jobs=1, unit="gpu.cuda.onnx")
    clock.advance(90)
    submit(jobs=1, unit="gpu.cuda.onnx")
    assert value(api, "fleetmark_oldest_pending_job_age_seconds") == 90
    assert value(api, "fleetmark_lanes_without_worker", compute_unit="gpu.cuda.onnx") == 2
    assert value(api, "fleetmark_queue_workers", queue="gpu.cuda.onnx") == 0
    register(capabilities=("gpu.cuda.onnx",))
    assert value(api, "fleetmark_queue_workers", queue="gpu.cuda.onnx") == 1


def test_each_worker_has_a_state_and_a_last_heartbeat(api: httpx.Client, register: Callable[..., str], clock: FakeClock) -> None:
    worker = register(name='a "device"\\n')
    who = {"worker_id": worker, "device": 'a "device"\\n'}
    assert value(api, "fleetmark_worker_state", state="active", **who) == 1
    beat = value(api, "fleetmark_worker_last_heartbeat_timestamp_seconds", **who)
    assert beat is not None
    assert 0 <= clock.now().timestamp() - beat < 60
    api.put(f"/api/workers/{worker}/status", json={"status": "faulty"})
    assert value(api, "fleetmark_worker_state", state="faulty", **who) == 1
    assert value(api, "fleetmark_worker_state", state="active", **who) is None


def test_what_runs_and_how_full_its_disks_are_is_told(api: httpx.Client, ctx: Context) -> None:
    ctx.settings.outputs_dir.mkdir(exist_ok=True)
    found = samples(api)
    [build] = [dict(labels) for name, labels in found if name == "fleetmark_build_info"]
    assert build.keys() == {"version", "python", "commit"}
    free, size = (value(api, f"fleetmark_disk_{what}_bytes", folder="outputs") for what in ("free", "size"))
    assert free is not None
    assert size is not None
    assert 0 < free < size


def test_nonsense_in_redis_hides_no_histogram(ctx: Context) -> None:
    histograms: Histograms = ctx.registry.histograms
    histograms.add([Observation(DURATION, "cpu.onnx", "complete", 2.0)])
    nonsense = {"x": "1", "duration|cpu.onnx|complete|99": "1", "duration|cpu.onnx|complete|0": "many", "a|b|c|sum": "nan?"}
    for field, text in nonsense.items():
        ctx.registry.redis.hset(keys.HISTOGRAMS, field, text)
    [one] = [found for found in histograms.read() if found.name == DURATION]
    assert (sum(one.counts), one.total_s) == (1, 2.0)


def test_every_alert_uses_metrics_and_labels_that_exist(
    api: httpx.Client, ctx: Context, submit: Submit, register: Callable[..., str]
) -> None:
    register()
    submit(jobs=1, unit="gpu.cuda.onnx")
    ctx.registry.monitor.count_sweep({})
    ctx.settings.outputs_dir.mkdir(exist_ok=True)
    known = {name: set(dict(labels)) for name, labels in samples(api)} | {"up": {"job", "instance"}}
    [group] = yaml.safe_load((RULES / "fleetmark.rules.yml").read_text())["groups"]
    for rule in group["rules"]:
        named = re.findall(r"\b(fleetmark_\w+|up)\b(?:\{([^}]*)\})?", rule["expr"].replace("\n", " "))
        assert named, rule["alert"]
        for metric, selector in named:
            assert metric in known, f"{rule['alert']} uses {metric}"
            labels = set(re.findall(r"(\w+)\s*[=!]", selector)) | set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
            assert labels <= known[metric] | {"instance"}, f"{rule['alert']}: {labels}"
        assert set(rule["annotations"]) == {"summary", "description"}
    config = yaml.safe_load((RULES / "prometheus.yml").read_text())
    assert [(RULES / name).is_file() for name in config["rule_files"]] == [True]
