"""Tests that what a language model wrote stays with its request, from the kept answers to the figures."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import numpy as np
import pytest

from shared.request_records import NOT_CONNECTED, RECORD, SUCCESS, TIMEOUT, WRONG, Header, Part, open_section, record_type
from shared.token_records import NAN, NOTHING
from shared.token_records import RECORD as TOKENS
from tests.model_server import delta, event, usage
from worker.drivers.answer_file import AnswerFile
from worker.drivers.base import Work
from worker.drivers.openai import OpenAiDriver
from worker.load.arrivals import Shape
from worker.load.ceiling import measure_ceiling
from worker.load.figures import outcome_of
from worker.load.phases import Measured
from worker.load.plan import ClientPlan, PhasePlan
from worker.load.records import RecordFile
from worker.load.tokens import has_tokens, sections_of, token_blocks

MS = 1_000_000


def record(failure: int = SUCCESS, scheduled: int = 0, last: float = 50.0 * MS) -> bytes:
    return RECORD.pack(scheduled, 0.0, NAN, last, 100, 200, 0, failure)


def body(tokens: int) -> list[bytes]:
    """Return an answer whose pieces each hold one token; the last one ends it."""
    return [*(event(delta("x")) for _ in range(tokens)), event(delta(None, "stop")) + event(usage(3, tokens)) + event(b"[DONE]")]


def keep(file: AnswerFile, place: int, pieces: list[bytes], sent: int = 0, gap: int = MS, failure: int = SUCCESS) -> None:
    arrived = array("q", [number for at, data in enumerate(pieces, 1) for number in (sent + at * gap, len(data))])
    file.add(place, place, sent, arrived, b"".join(pieces), 200 if failure == SUCCESS else 0, failure)


def settled(folder: Path, name: str, records: list[bytes], answers: dict[int, tuple[list[bytes], int]], **settings: object) -> RecordFile:
    """Write records and what was kept of their answers, and let the driver read them."""
    path = folder / f"{name}.records"
    path.write_bytes(b"".join(records))
    driver = OpenAiDriver(Work("http://127.0.0.1:1", settings))
    driver.keep(path)
    assert driver.kept is not None
    for place, (pieces, failure) in answers.items():
        keep(driver.kept, place, pieces, failure=failure)
    driver.settle(path)
    return RecordFile(path, len(records))


def test_requests_without_an_answer_have_no_tokens_and_the_others_keep_theirs(tmp_path: Path) -> None:
    records = [record(NOT_CONNECTED), record(), record(TIMEOUT), record(), record(NOT_CONNECTED)]
    answers = {1: (body(4), SUCCESS), 2: (body(4)[:2], TIMEOUT), 3: (body(2), SUCCESS)}
    file = settled(tmp_path, "client-0", records, answers, keep_prompts=True)
    (block,) = token_blocks(Measured("requests", (file,), None, open_loop=False))
    assert block.tokens["output"].tolist() == [0, 4, 2, 2, 0]
    assert block.records["failure"].tolist() == [NOT_CONNECTED, SUCCESS, TIMEOUT, SUCCESS, NOT_CONNECTED]
    assert block.gaps_of(block.records["failure"] == SUCCESS).tolist() == [MS, MS, MS, MS]
    lines = file.path.with_suffix(".texts").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [None, "Hello world", "Hello world", "Hello world", None]
    assert not file.path.with_suffix(".answers").exists()


def test_an_answer_that_turns_out_to_be_wrong_is_a_failure_in_the_record_of_its_request(tmp_path: Path) -> None:
    file = settled(tmp_path, "client-0", [record(), record()], {0: (body(2), SUCCESS), 1: (body(2)[:1], SUCCESS)})
    (block,) = token_blocks(Measured("requests", (file,), None, open_loop=False))
    assert block.records["failure"].tolist() == [SUCCESS, WRONG]
    assert block.records["last"].tolist() == [50 * MS] * 2


def test_a_client_process_that_died_leaves_requests_without_tokens(tmp_path: Path) -> None:
    lives = settled(tmp_path, "client-0", [record(), record()], {0: (body(3), SUCCESS), 1: (body(3), SUCCESS)})
    died = RecordFile(tmp_path / "client-1.records", 1)
    died.path.write_bytes(record())
    phase = Measured("requests", (died, lives), None, open_loop=False)
    assert has_tokens(phase)
    assert [block.tokens["output"].tolist() for block in token_blocks(phase)] == [[0], [3, 3]]
    sections, sources = sections_of([died, lives])
    assert {section.name: section.sizes for section in sections} == {"tokens": (40, 80), "gaps": (0, 16)}
    content = []
    for source, size in sources:
        with source() as opened:
            content.append(opened.read(size))
    assert content[0] == NOTHING
    parts = tuple(Part(0, "requests", client, file.count, 1.0, (0, 1)) for client, file in ((1, died), (0, lives)))
    whole = tmp_path / "requests.bin"
    whole.write_bytes(Header("openai", ("ask",), parts, sections=sections).to_line() + record() * 3 + b"".join(content))
    tokens = open_section(whole, "tokens")
    assert tokens is not None
    with tokens:
        assert TOKENS.unpack(tokens.read(160)[40:80])[5] == 3
    assert open_section(whole, "texts") is None


def test_another_service_has_no_tokens(tmp_path: Path) -> None:
    path = tmp_path / "client-0.records"
    path.write_bytes(record())
    assert not has_tokens(Measured("mixed", (RecordFile(path, 1),), None, open_loop=False))
    assert not has_tokens(Measured("mixed", np.zeros(0, record_type()), None, open_loop=False))
    assert sections_of([RecordFile(path, 1)]) == ((), [])


def test_figures_are_those_of_the_definitions(tmp_path: Path) -> None:
    """Two repeats with answers of known times: events 1 ms apart, the first after 1 ms, the last byte after 50 ms."""
    repeats = []
    for number in range(2):
        answers = {place: (body(5), SUCCESS) for place in range(4)}
        records = [record(scheduled=place * 100 * MS) for place in range(4)]
        file = settled(tmp_path, f"client-{number}", records, answers)
        repeats.append([Measured("requests", (file,), 0.4, open_loop=False)])
    outcome = outcome_of(repeats, service_type="openai", operations=["ask"], concurrency=1, ceiling_per_s=None)
    known = {figure.name: figure.value for figure in outcome.figures}
    assert known["tokens_per_second"] == pytest.approx(4 * 5 / 0.4)
    assert known["tokens_per_second_per_request"] == pytest.approx(5 / 0.05)
    assert known["ttft_ms_p50"] == known["ttft_ms_avg"] == known["ttfo_ms_p50"] == pytest.approx(1)
    assert known["itl_ms_p50"] == pytest.approx(1)
    assert known["tpot_ms_p50"] == pytest.approx((50 - 1) / 4)
    assert known["decode_tokens_per_s"] == pytest.approx(4 / 0.004)
    assert (known["input_tokens"], known["output_tokens"], known["tokens_per_event"]) == (3, 5, 1)
    assert known["ttft_ms_p99"] is None
    assert outcome.distributions["ttft"].n == 8
    assert next(figure for figure in outcome.figures if figure.name == "ttft_ms_p50").repeats == pytest.approx((1, 1))
    assert outcome.detail["tokens"]["output_tokens"] == 40
    assert outcome.detail["tokens"]["warnings"] == []


CLIENTS: list[tuple[str, dict[str, object]]] = [
    ("openai", {"max_tokens": 20}),
    ("openai", {"stream": False}),
    ("ollama", {}),
    ("vllm", {"input_tokens": 9}),
]


@pytest.mark.long  # the test of a whole job has the first of them
@pytest.mark.parametrize(("driver", "settings"), CLIENTS)
def test_the_clients_have_a_ceiling_on_this_wire(driver: str, settings: dict[str, object], tmp_path: Path) -> None:
    phase = PhasePlan("requests", {"ask": 1.0}, Shape(), count=5)
    plan = ClientPlan(driver, "http://nowhere", settings, (phase,), 1, 0, 1, "1", 10.0, str(tmp_path))
    wire = "ollama" if driver == "ollama" else "openai"
    assert (measure_ceiling([plan], wire, 20) or 0) > 50
