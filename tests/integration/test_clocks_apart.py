"""Tests that a wrong clock of a device is reported at registration, in the list of workers, and in the log of its jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest

from cli.commands.fleet import workers
from orchestrator.operations.context import Context
from shared.clock import CLOCK_TOLERANCE_S, FakeClock, clock_warning
from shared.ids import new_incarnation
from shared.protocol import keys
from shared.workers import DeviceInfo, Registration
from tests.integration.api.conftest import serving
from tests.integration.conftest import NOON
from worker.agent.broker import Broker
from worker.agent.login import Login
from worker.agent.registration import register_by_http, register_in_redis

Register = Callable[..., str]


def _device(name: str) -> Registration:
    return Registration(device_name=name, capabilities=["cpu.onnx"], device_info=DeviceInfo(UDID=name), incarnation=new_incarnation())


@pytest.mark.parametrize(
    ("offset_s", "says"),
    [
        (90.4, "is 90 s ahead of the orchestrator's"),
        (-3_600, "is 3600 s behind the orchestrator's"),
        (CLOCK_TOLERANCE_S - 0.5, ""),
        (-CLOCK_TOLERANCE_S + 0.5, ""),
    ],
)
def test_a_device_and_its_orchestrator_both_say_how_far_their_clocks_differ(
    ctx: Context, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], offset_s: float, says: str
) -> None:
    with serving(ctx) as api, caplog.at_level(logging.WARNING):
        host = str(api.base_url).rstrip("/")
        device = _device("pi-5")
        registered = register_by_http(host, None, device, None, clock=FakeClock(NOON + timedelta(seconds=offset_s)))
        shown = api.get(f"/api/workers/{registered.worker_id}").json()
        [listed] = api.get("/api/workers").json()["workers"]
        workers(host=host, token=None)
    assert registered.clock_offset_s == pytest.approx(offset_s, abs=0.01)
    assert shown["clock_offset_s"] == listed["clock_offset_s"] == pytest.approx(offset_s, abs=0.01)
    assert says in clock_warning(registered.clock_offset_s)
    told = [record.getMessage() for record in caplog.records if "the clock of this device" in record.getMessage()]
    printed = " ".join(capsys.readouterr().err.split())
    if says:
        assert f"{registered.worker_id} (pi-5): the clock of this device {says}" in told[0]
        assert f"pi-5: the clock of this device {says}" in printed
    else:
        assert told == []
        assert "the clock of this device" not in printed


def test_a_device_that_does_not_say_what_time_it_has_is_accepted_and_known_for_that(ctx: Context) -> None:
    body = {"device_name": "old", "capabilities": ["cpu.onnx"], "device_info": {"UDID": "old"}}
    with serving(ctx) as api:
        answer = api.post("/api/register", json=body)
        assert (answer.status_code, answer.json()["clock_offset_s"]) == (200, None)
        assert api.get("/api/workers").json()["workers"][0]["clock_offset_s"] is None


@pytest.mark.parametrize("time", [-1, 1e300, "noon"])
def test_a_value_that_is_no_time_is_refused(ctx: Context, time: object) -> None:
    with serving(ctx) as api:
        answer = api.post("/api/register", json={"device_name": "odd", "capabilities": ["cpu.onnx"], "clock": time})
    assert answer.status_code == 422
    assert answer.json()["fields"][0]["path"] == "clock"


def test_a_clock_that_was_set_right_is_right_after_the_next_registration(ctx: Context, register: Register) -> None:
    with serving(ctx) as api:
        host, device = str(api.base_url).rstrip("/"), _device("pi-5")
        worker = register_by_http(host, None, device, None, clock=FakeClock(NOON + timedelta(hours=1))).worker_id
        assert ctx.registry.get(worker).clock_offset_s == pytest.approx(3_600, abs=1)
        register_by_http(host, None, device, None, clock=FakeClock(NOON))
        assert ctx.registry.get(worker).clock_offset_s == pytest.approx(0, abs=1)


def test_without_an_orchestrator_the_clock_is_compared_with_that_of_redis(ctx: Context) -> None:
    seconds, _ = ctx.registry.redis.time()
    clock = FakeClock(NOON)
    clock.advance(seconds - NOON.timestamp() - 600)  # the clock of this device is ten minutes behind
    device = _device("pi-5")
    broker = Broker(Login(ctx.settings.redis_url, None), device.incarnation, 30)
    registered = register_in_redis(broker, ctx.settings.redis_url, device, clock)
    broker.close()
    assert registered.clock_offset_s == pytest.approx(-600, abs=30)
    assert ctx.registry.get(registered.worker_id).clock_offset_s == pytest.approx(-600, abs=30)


@pytest.mark.parametrize("value", ["", "soon", "nan", "1e999"])
def test_what_a_device_writes_in_the_place_of_an_offset_hides_no_other(ctx: Context, register: Register, value: str) -> None:
    steady, odd = register("steady"), register("odd")
    ctx.registry.redis.hset(keys.worker(odd), "clock_offset_ms", value)
    assert steady in {worker.id for worker in ctx.registry.everyone()}
