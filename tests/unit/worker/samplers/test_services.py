"""Tests how a service's own statistics are sampled: what is told, what is null, and where the page of a type of service is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from tests.servers import RedisServer, free_port, server_folder
from worker.samplers.base import Place, Vanished
from worker.samplers.pages import page_of
from worker.samplers.polled import NoAnswer, PolledService
from worker.samplers.redis import RedisInfo, lack
from worker.samplers.registry import default_samplers


class Told(PolledService):
    """Tells what a list says, one item at a time; a text is why there is no answer."""

    source = "told"
    units: ClassVar[Mapping[str, str]] = {"a": "count", "b": "s"}

    def __init__(self, answers: list[Mapping[str, float] | str]) -> None:
        super().__init__(Place())
        self._answers = answers
        self.hung_up = 0

    def ask(self) -> Mapping[str, float]:
        answer = self._answers.pop(0)
        if isinstance(answer, str):
            raise NoAnswer(answer)
        return answer

    def hang_up(self) -> None:
        self.hung_up += 1


def test_only_what_a_service_tells_becomes_a_column_with_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.samplers.polled.PERIOD_S", 60.0)
    sampler = Told([{"b": 2.0, "other": 9.0}])
    assert [(column.name, column.unit, column.source) for column in sampler.open()] == [("told_b", "s", "told")]
    assert sampler.read() == [2.0]
    assert sampler.read() == [None], "nothing has been told since"
    sampler.close()
    assert sampler.hung_up == 1


def test_a_service_that_does_not_answer_is_null_with_its_reason_until_it_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.samplers.polled.PERIOD_S", 0.0)
    sampler = Told([{"a": 1.0}, "it is gone", {"a": 3.0}])
    monkeypatch.setattr(sampler, "_watch", lambda: None)
    sampler.open()
    sampler.read()
    told = iter([False, False, True])
    monkeypatch.setattr(sampler._closed, "wait", lambda _seconds: next(told))
    PolledService._watch(sampler)
    assert sampler.read() == [3.0]
    assert sampler.missing() == {}
    failing = Told([{"a": 1.0}, "it is gone"])
    monkeypatch.setattr(failing, "_watch", lambda: None)
    failing.open()
    failing.read()
    told = iter([False, True])
    monkeypatch.setattr(failing._closed, "wait", lambda _seconds: next(told))
    PolledService._watch(failing)
    assert failing.read() == [None]
    assert failing.missing() == {"told_a": "it is gone"}
    assert failing.hung_up == 1, "the next question opens a new connection"


def test_redis_with_a_password_is_asked_with_it_and_says_what_is_wrong_without(monkeypatch: pytest.MonkeyPatch) -> None:
    with server_folder() as folder:
        server = RedisServer(folder, append_only=False, password="s3cret")
        server.start()
        place = Place(service="redis", service_address=f"redis://{server.place}")
        with pytest.raises(Vanished, match="NOAUTH"):
            RedisInfo(place).open()
        assert "NOAUTH" in str(lack(place))
        monkeypatch.setenv("FLEETMARK_WORKER_REDIS_PASSWORD", "s3cret")
        sampler = RedisInfo(place)
        names = [column.name for column in sampler.open()]
        values = sampler.read()
        assert values[names.index("redis_used_memory")] > 0  # type: ignore[operator]
        assert all(value is not None and math.isfinite(value) for value in values)
        sampler.close()
        server.stop()


def test_an_address_where_nothing_listens_is_one_sentence_without_its_login() -> None:
    place = Place(service="redis", service_address=f"redis://:s3cret@127.0.0.1:{free_port()}")
    with pytest.raises(Vanished, match=r"^Redis at 127\.0\.0\.1:\d+ does not answer: ") as raised:
        RedisInfo(place).open()
    assert "s3cret" not in str(raised.value) + repr(place)


def test_a_sampler_of_a_service_runs_only_beside_a_load_on_it() -> None:
    assert "redis" not in default_samplers()
    assert "redis" in default_samplers("redis")
    assert "postgres" not in default_samplers("redis")
    assert set(default_samplers()) < set(default_samplers("postgres"))


@pytest.mark.parametrize(
    ("service", "address", "settings", "page"),
    [
        ("vllm", "http://127.0.0.1:8000/v1", {}, "http://127.0.0.1:8000/metrics"),
        ("qdrant", "http://me:pw@host:6333", {}, "http://host:6333/metrics"),
        ("triton", "http://host:8000", {"server_metrics_url": "http://host:8002/metrics"}, "http://host:8002/metrics"),
        ("redis", "redis://host:6379", {}, ""),
        ("http", "http://host/x", {}, ""),
        ("", "", {}, ""),
    ],
)
def test_the_page_of_a_type_of_service(service: str, address: str, settings: dict[str, Any], page: str) -> None:
    assert page_of(service, address, settings) == page
