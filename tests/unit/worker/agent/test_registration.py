from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.errors import FleetmarkError, IdentityInUse, Unauthorized, Unavailable
from shared.workers import DeviceInfo, Registration
from tests.proxy_server import proxy_server
from tests.unit.worker.agent.http_double import Orchestrator, orchestrator
from worker.agent.login import Login
from worker.agent.registration import explain_conflict, reachable_broker, register_by_http, with_login_given

REGISTRATION = Registration(device_name="lab-pi", capabilities=["cpu.onnx"], device_info=DeviceInfo(UDID="u"), incarnation="one")
ANSWER = {"worker_id": "worker-1", "status": "registered", "action": "created", "broker_url": "redis://127.0.0.1:6379/0"}


@pytest.fixture
def there() -> Iterator[Orchestrator]:
    with orchestrator() as state:
        yield state


def test_the_orchestrator_gives_the_id_and_the_broker(there: Orchestrator) -> None:
    there.register = (200, ANSWER)
    registered = register_by_http(there.url, "secret", REGISTRATION, None)
    assert (registered.worker_id, registered.action, registered.broker_url) == ("worker-1", "created", "redis://127.0.0.1:6379/0")
    assert there.tokens == ["Bearer secret"]
    assert there.registrations[0]["incarnation"] == "one"
    assert there.registrations[0]["device_info"]["UDID"] == "u"


def test_a_broker_given_by_hand_wins(there: Orchestrator) -> None:
    there.register = (200, ANSWER)
    assert register_by_http(there.url, None, REGISTRATION, "redis://other:1/0").broker_url == "redis://other:1/0"
    assert there.tokens == [None]


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (409, IdentityInUse, "is alive"),
        (401, Unauthorized, "FLEETMARK_TOKEN"),
        (503, Unavailable, "not ready"),
        (422, FleetmarkError, "capabilities.0: unknown"),
    ],
)
def test_each_refusal_is_told_apart(there: Orchestrator, status: int, error: type[FleetmarkError], says: str) -> None:
    there.register = (status, {"error": "X", "detail": "worker-1 is alive", "fields": [{"path": "capabilities.0", "message": "unknown"}]})
    with pytest.raises(error, match=says):
        register_by_http(there.url, None, REGISTRATION, None)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507])
def test_what_may_pass_is_tried_again(there: Orchestrator, status: int) -> None:
    there.register = (status, {"error": "Internal", "detail": "a defect"})
    with pytest.raises(Unavailable, match="not ready: a defect"):
        register_by_http(there.url, None, REGISTRATION, None)


@pytest.mark.parametrize("body", ["<html>back soon</html>", [], {"status": "ok"}, {"worker_id": 7}])
def test_an_answer_that_is_no_orchestrators_is_tried_again(there: Orchestrator, body: object) -> None:
    """Such pages come from a proxy during an upgrade, or from the login page of a hotel network."""
    there.register = (200, body)
    with pytest.raises(Unavailable, match="not as an orchestrator does"):
        register_by_http(there.url, None, REGISTRATION, None)


def test_a_refusal_of_any_shape_is_told(there: Orchestrator) -> None:
    there.register = (422, {"detail": "no", "fields": ["capabilities"]})
    with pytest.raises(FleetmarkError, match="refused this worker with 422: no"):
        register_by_http(there.url, None, REGISTRATION, None)
    there.register = (400, ["no"])
    with pytest.raises(FleetmarkError, match=r"refused this worker with 400: 400 \[.no.\]"):
        register_by_http(there.url, None, REGISTRATION, None)


def test_each_refused_field_is_told_once(there: Orchestrator) -> None:
    fields = [{"path": name, "message": "Field required"} for name in ("device_name", "device_info")]
    there.register = (422, {"detail": "the body is not valid: device_name: Field required (and 1 more)", "fields": fields})
    with pytest.raises(FleetmarkError) as raised:
        register_by_http(there.url, None, REGISTRATION, None)
    assert raised.value.detail.endswith("not valid: device_name: Field required (and 1 more); device_info: Field required")


def test_capabilities_that_an_earlier_orchestrator_does_not_know_are_left_out_and_named(
    there: Orchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    there.register, there.knows = (200, ANSWER), {"cpu.onnx", "service.redis"}
    offer = REGISTRATION.model_copy(update={"capabilities": ["service.new", "cpu.onnx", "hardware.new", "service.redis"]})
    registered = register_by_http(there.url, None, offer, None)
    assert registered.worker_id == "worker-1"
    assert registered.left_out == ("service.new", "hardware.new")
    assert there.registrations[-1]["capabilities"] == ["cpu.onnx", "service.redis"]
    assert registered.known_of(offer).capabilities == ["cpu.onnx", "service.redis"]
    (said,) = caplog.messages
    assert "does not know service.new, hardware.new, so it sends no such jobs" in said


def test_a_worker_whose_every_capability_is_unknown_is_refused_and_told_once_why(there: Orchestrator) -> None:
    there.knows = {"cpu.torch"}
    offer = REGISTRATION.model_copy(update={"capabilities": ["service.new", "hardware.new"]})
    with pytest.raises(FleetmarkError) as raised:
        register_by_http(there.url, None, offer, None)
    said = "refused this worker with 422: unknown compute unit 'hardware.new'; it does not know service.new either, so upgrade it"
    assert said in raised.value.detail


def test_an_answer_without_a_broker_says_what_is_missing(there: Orchestrator) -> None:
    there.register = (200, {"worker_id": "worker-1", "action": "created"})
    with pytest.raises(FleetmarkError, match="worker role"):
        register_by_http(there.url, None, REGISTRATION, None)


def test_an_orchestrator_that_is_away_may_be_tried_again() -> None:
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1"):
        register_by_http("http://127.0.0.1:1", None, REGISTRATION, None)


def test_a_worker_registers_on_its_own_machine_whatever_proxies_are_named(there: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    there.register = (200, ANSWER)
    with proxy_server() as proxy:
        for name, value in proxy.environment(NO_PROXY="::1/128, fd00::/8, [::1]").items():
            monkeypatch.setenv(name, value)
        assert register_by_http(there.url, None, REGISTRATION, None).worker_id == "worker-1"
        assert proxy.asked == []
        with pytest.raises(Unavailable, match=r"through the proxy http://127\.0\.0\.1:\d+ \(HTTP_PROXY\)"):
            register_by_http("http://lab.test:5000", None, REGISTRATION, None)
        proxy.leads_to["lab.test:5000"] = there.url.removeprefix("http://")
        assert register_by_http("http://lab.test:5000", None, REGISTRATION, None).broker_url == "redis://lab.test:6379/0"
    assert proxy.asked == ["POST http://lab.test:5000/api/register"] * 2


@pytest.mark.parametrize(
    ("broker", "host", "reachable"),
    [
        ("redis://127.0.0.1:6379/0", "http://lab:5000", "redis://lab:6379/0"),
        ("redis://:secret@localhost:6379/1", "http://10.0.0.5:5000", "redis://:secret@10.0.0.5:6379/1"),
        ("redis://localhost/0", "http://[fd00::1]:5000", "redis://[fd00::1]/0"),
        ("redis://127.0.0.1:6379/0", "http://localhost:5000", "redis://127.0.0.1:6379/0"),
        ("rediss://broker.example:6380/0", "http://lab:5000", "rediss://broker.example:6380/0"),
    ],
)
def test_a_loopback_broker_of_another_machine_is_that_machine(broker: str, host: str, reachable: str) -> None:
    assert reachable_broker(broker, host) == reachable


@pytest.mark.parametrize(
    ("given", "told", "used"),
    [
        ("redis://tunnel:1/0", "redis://fleetmark-worker-1:pw@lab:6379/0", "redis://fleetmark-worker-1:pw@tunnel:1/0"),
        ("redis://me:mine@tunnel:1/0", "redis://fleetmark-worker-1:pw@lab:6379/0", "redis://me:mine@tunnel:1/0"),
        ("rediss://tunnel:1/0", "redis://lab:6379/0", "rediss://tunnel:1/0"),
        ("redis://tunnel:1/0", "", "redis://tunnel:1/0"),
    ],
)
def test_an_address_given_by_hand_gets_the_login_that_was_given(given: str, told: str, used: str) -> None:
    assert with_login_given(given, told) == used


def test_a_login_shows_no_secret_and_changes_in_place() -> None:
    login = Login("redis://fleetmark-worker-1:first@lab:6379/0", None)
    assert login.address == "redis://lab:6379/0"
    assert login.get_credentials() == ("fleetmark-worker-1", "first")
    login.renew("redis://fleetmark-worker-1:sec%2Fond@lab:6379/0")
    assert login.get_credentials() == ("fleetmark-worker-1", "sec/ond")
    assert Login("redis://:only@lab/0", None).get_credentials() == ("default", "only")
    assert Login("redis://lab/0", None).get_credentials() == ("default", "")


def test_a_conflict_names_every_way_out() -> None:
    text = explain_conflict(IdentityInUse("worker-1 is alive"), "/state", 30.0)
    assert "/state/identity.json" in text
    assert "cloned" in text
    assert "30 s" in text
