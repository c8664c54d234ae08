"""Tests the client of a load against servers whose own log says what is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.request_records import CLOSED, NOT_CONNECTED, OPEN, STATUS, TIMEOUT, TOO_MANY, WRONG, record_type
from tests.load_servers import OK, HttpTruth, http_truth
from worker.load.arrivals import Shape
from worker.load.clients import Clients
from worker.load.phases import Measured, rate_asked
from worker.load.plan import ClientPlan, PhasePlan
from worker.load.samples import latencies_ms


def drive(
    truth: HttpTruth, folder: Path, phase: PhasePlan, *, concurrent: int = 8, clients: int = 1, timeout_s: float = 10.0
) -> NDArray[np.void]:
    """Return the records of every client process together."""
    plans = [
        ClientPlan("http", f"http://127.0.0.1:{truth.port}/", {}, (phase,), concurrent, client, clients, "1", timeout_s, str(folder))
        for client in range(clients)
    ]
    with Clients(plans) as processes:
        processes.make_ready(0)
        run = processes.run(0)
    assert not run.died
    return np.concatenate([np.fromfile(path, record_type()) for path in run.files.values()])


def of(records: NDArray[np.void], phase: PhasePlan) -> Measured:
    return Measured(phase.name, records, phase.duration_s, phase.shape.is_open)


@pytest.mark.alone
def test_percentiles_are_those_of_the_servers_own_log(tmp_path: Path) -> None:
    """The difference is the time to the server and back.

    If other programs keep the CPUs busy, server and clients wait for a CPU in between, and that is part of the true latency. An error of
    the clients is there in each try, so one try with small differences is enough.
    """
    schedule, tries = (0.005, 0.010, 0.020, 0.040), 3
    phase = PhasePlan("all", {"get": 1.0}, Shape("poisson", rate=150.0, seed="1"), duration_s=3.0)
    for number in range(tries):
        folder = tmp_path / str(number)
        folder.mkdir()
        with http_truth(HttpTruth(answer=lambda number: (schedule[number % 4], OK))) as truth:
            records = drive(truth, folder, phase, concurrent=32, clients=2)
        known = np.array([sent - received for received, sent in truth.log]) / 1e6
        seen = latencies_ms([of(records, phase)])
        assert len(seen) == len(known) == len(records)
        assert (records["first"] <= records["last"]).all()
        later_ms = [float(np.percentile(seen, rank) - np.percentile(known, rank)) for rank in (25, 50, 75, 90)]
        assert min(later_ms) > 0
        if max(later_ms) < 3:
            return
    pytest.fail(f"in each of {tries} tries a percentile was too high; the last differences were {later_ms} ms")


@pytest.mark.alone
def test_a_stall_shows_in_the_latency_from_the_schedule_and_not_in_that_from_sending(tmp_path: Path) -> None:
    """The error is called coordinated omission: with one connection, only one request meets the stall, but a hundred users wait for it."""
    phase = PhasePlan("all", {"get": 1.0}, Shape("constant", rate=100.0), duration_s=3.0)
    with http_truth(HttpTruth(stalls=(1.0, 1.0))) as truth:
        records = drive(truth, tmp_path, phase, concurrent=1)
    measured = [of(records, phase)]
    assert len(records) == 300
    assert (latencies_ms(measured) > 500).sum() == 1
    assert np.percentile(latencies_ms(measured), 90) < 100
    waited = latencies_ms(measured, of="scheduled")
    assert (waited > 500).sum() == pytest.approx(50, abs=15)
    assert waited.max() == pytest.approx(1_000, abs=100)


@pytest.mark.alone
def test_a_schedule_is_kept(tmp_path: Path) -> None:
    phase = PhasePlan("all", {"get": 1.0}, Shape("constant", rate=500.0), duration_s=2.0)
    with http_truth(HttpTruth()) as truth:
        records = drive(truth, tmp_path, phase, concurrent=64)
    measured = [of(records, phase)]
    assert rate_asked(measured) == pytest.approx(500, rel=0.01)
    assert len(records) == len(truth.log) == 1_000
    assert np.median(records["delay"]) < 500_000  # this is half a millisecond; `benchmarks/load_clients.py` measures the p99
    assert records["scheduled"].tolist() == sorted(records["scheduled"].tolist())


BROKEN = {
    "half an answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", CLOSED, 200),
    "half a head": (b"HTTP/1.1 200 OK\r\nConte", CLOSED, 0),
    "no answer": (b"", CLOSED, 0),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", WRONG, 0),
    "too many requests": (b"HTTP/1.1 429 Too Many\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nOK", TOO_MANY, 429),
    "an error of the server": (b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nOK", STATUS, 503),
    "a redirect": (b"HTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\nOK", WRONG, 302),
    "silence": (None, TIMEOUT, 0),
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_each_way_to_fail_has_a_name_and_its_own_latency_and_is_never_sent_again(what: str, tmp_path: Path) -> None:
    data, failure, status = BROKEN[what]
    phase = PhasePlan("all", {"get": 1.0}, Shape("closed"), count=40)
    answer = {True: (0.0, data), False: (0.0, OK)}
    with http_truth(HttpTruth(answer=lambda number: answer[number == 20])) as truth:
        records = drive(truth, tmp_path, phase, concurrent=2, timeout_s=0.5)
    assert truth.requests == 40 == len(records)
    (failed,) = records[records["failure"] > 0]
    assert failed["failure"] == failure
    assert failed["status"] in (0, status)
    assert len(latencies_ms([of(records, phase)])) == 39
    assert len(latencies_ms([of(records, phase)], failed=True)) == 1


def test_an_answer_that_ends_with_its_connection_is_an_answer(tmp_path: Path) -> None:
    phase = PhasePlan("all", {"get": 1.0}, Shape("closed"), count=10)
    with http_truth(HttpTruth(answer=lambda _number: (0.0, b"HTTP/1.1 200 OK\r\n\r\nuntil the end"))) as truth:
        records = drive(truth, tmp_path, phase, concurrent=1)
    assert set(records["failure"]) == {0}
    assert truth.accepted == 10  # each answer ends with its connection, so every request opens a new one, and the result counts them


def test_what_was_due_and_never_sent_when_the_window_ended_is_open(tmp_path: Path) -> None:
    phase = PhasePlan("all", {"get": 1.0}, Shape("constant", rate=100.0), duration_s=1.0)
    with http_truth(HttpTruth(answer=lambda _number: (0.3, OK))) as truth:
        records = drive(truth, tmp_path, phase, concurrent=2)
    assert len(records) == 100
    answered = int((records["failure"] == 0).sum())
    assert 5 <= answered <= 10
    assert (records["failure"] == OPEN).sum() == 100 - answered
    assert answered == len(truth.log)


def test_when_the_server_is_gone_the_clients_give_up_and_keep_what_they_have(tmp_path: Path) -> None:
    truth = HttpTruth()

    def answer(number: int) -> tuple[float, bytes]:
        if number < 20:
            return 0.0, OK
        assert truth.listening is not None
        truth.listening.close()
        return 0.0, b""

    truth.answer = answer
    phase = PhasePlan("all", {"get": 1.0}, Shape("closed"), count=1_000_000)
    with http_truth(truth):
        plan = ClientPlan("http", f"http://127.0.0.1:{truth.port}/", {}, (phase,), 1, 0, 1, "1", 0.3, str(tmp_path))
        with Clients([plan]) as clients:
            clients.make_ready(0)
            run = clients.run(0)
    assert run.facts[0]["gave_up"].startswith("no connection could be opened for 0.3 s: ")
    failures = np.fromfile(run.files[0], record_type())["failure"].tolist()
    assert failures[:21] == [0] * 20 + [CLOSED]
    assert set(failures[21:]) == {NOT_CONNECTED}
    assert len(failures) < 40


def test_a_client_process_that_dies_ends_nothing_but_itself(tmp_path: Path) -> None:
    phase = PhasePlan("all", {"get": 1.0}, Shape("constant", rate=200.0), duration_s=1.0)
    truth = HttpTruth()
    killed: list[int] = []

    def answer(number: int) -> tuple[float, bytes]:
        if number == 50:
            clients.processes[1].kill()
            killed.append(1)
        return 0.0, OK

    truth.answer = answer
    with http_truth(truth):
        address = f"http://127.0.0.1:{truth.port}/"
        plans = [ClientPlan("http", address, {}, (phase,), 4, client, 2, "1", 5.0, str(tmp_path)) for client in range(2)]
        with Clients(plans) as clients:
            clients.make_ready(0)
            run = clients.run(0)
    assert killed
    assert run.died[1].startswith("client process 1 ended with signal 9")
    assert run.counts[0] == 100
