"""Tests what the driver of HTTP thinks of answers, with a server whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import WRONG, record_type
from tests.load_servers import HttpTruth, http_truth
from worker.drivers.base import Work
from worker.drivers.http import BodyLane, HttpDriver
from worker.load.arrivals import Shape
from worker.load.ceiling import measure_ceiling
from worker.load.clients import Clients, PhaseRun
from worker.load.plan import ClientPlan, PhasePlan

GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"answer":42}OK'
BAD = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"error":"no"}OK'
CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"an\r\n8\r\nswer":42\r\n1\r\n}\r\n0\r\n\r\n'


def plan(port: int, folder: Path, count: int = 10, **settings: Any) -> ClientPlan:
    phase = PhasePlan("all", {str(settings.get("method", "GET")).lower(): 1.0}, Shape(), count=count)
    return ClientPlan("http", f"http://127.0.0.1:{port}/", settings, (phase,), 1, 0, 1, "1", 5.0, str(folder))


def drive(asked: ClientPlan) -> tuple[list[int], PhaseRun]:
    with Clients([asked]) as clients:
        clients.prepare()
        clients.make_ready(0)
        run = clients.run(0)
    return np.fromfile(run.files[0], record_type())["failure"].tolist(), run


def test_an_answer_without_the_expected_text_is_a_failure(tmp_path: Path) -> None:
    with http_truth(HttpTruth(answer=lambda number: (0.0, BAD if number == 5 else GOOD))) as truth:
        failures, run = drive(plan(truth.port, tmp_path, expect_body='"answer":42'))
    assert failures == [WRONG if number == 4 else 0 for number in range(10)]  # the first request was that of the preparation
    assert run.facts[0]["said"] == 'a body without the expected text: {"error":"no"}OK'


class Reports:
    recorded = 0

    def __init__(self) -> None:
        self.failures: list[int] = []

    def done(self, *report: int) -> None:
        self.failures.append(report[-1])

    def free(self, lane: object) -> None:
        """Do nothing: the test sends the next request itself."""

    broken = free


def test_the_expected_text_is_found_across_chunks_and_reads(tmp_path: Path) -> None:
    sink = Reports()
    lane = BodyLane(HttpDriver(Work("http://127.0.0.1:1", {"expect_body": '"answer":42'})), sink)
    for split in range(1, len(CHUNKED)):
        lane.waiting.append(0)
        lane.first = 0
        lane.data_received(CHUNKED[:split])
        lane.data_received(CHUNKED[split:])
    assert sink.failures == [0] * (len(CHUNKED) - 1)


def test_the_first_answer_says_what_is_wrong_before_any_load(tmp_path: Path) -> None:
    with http_truth(HttpTruth(answer=lambda _number: (0.0, BAD))) as truth:
        with pytest.raises(EngineUnavailable, match=r"answers with a body without the expected text.*client\.settings\.expect_body"):
            drive(plan(truth.port, tmp_path, expect_body="42"))
        with pytest.raises(EngineUnavailable, match=r"answers with status 200, and client\.settings\.expect_status is 302"):
            drive(plan(truth.port, tmp_path, expect_status=302))
    with pytest.raises(ModelInvalid, match="expect_body is set and method is HEAD"):
        HttpDriver(Work("http://127.0.0.1:1", {"method": "HEAD", "expect_body": "x"}))


@pytest.mark.parametrize("settings", [{"expect_status": 201}, {"expect_body": "42"}, {"method": "HEAD"}])
def test_the_ceiling_is_that_of_the_clients_whatever_is_expected_of_the_service(settings: dict[str, Any], tmp_path: Path) -> None:
    assert (measure_ceiling([plan(1, tmp_path, **settings)], "http", 20) or 0) > 100
