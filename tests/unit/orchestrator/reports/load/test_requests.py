"""Tests that `requests.jsonl` says of each request what its binary record says."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from orchestrator.reports.load.requests import write_requests
from shared.request_records import RECORD, TIMEOUT, Header, Part, Section, join
from shared.token_records import NOTHING
from shared.token_records import RECORD as TOKENS

NAN = float("nan")


def write(folder: Path, job: int, records: list[bytes], phase: str = "mixed") -> None:
    (folder / "requests").mkdir(exist_ok=True)
    header = Header("redis", ("get", "set"), (Part(1, phase, 2, len(records), 1_700_000_000.0, (0, 10**9)),))
    (folder / "requests" / f"campaign-x-job-{job}.bin").write_bytes(join(header, records))


def read(folder: Path) -> list[dict[str, object]]:
    path = write_requests(folder)
    assert path is not None
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_request_is_one_line_with_its_times_and_what_became_of_it(tmp_path: Path) -> None:
    good = RECORD.pack(500_000_000, 1_000.0, 20_000.0, 30_000.0, 288, 0, 1, 0)
    late = RECORD.pack(-5_000, 0.0, NAN, 2e9, 10, 503, 0, TIMEOUT)
    write(tmp_path, 1, [good, late])
    first, second = read(tmp_path)
    assert first == {
        "timestamp_start": pytest.approx(1_700_000_000.500001, abs=1e-6),
        "timestamp_end": pytest.approx(1_700_000_000.500031, abs=1e-6),
        "latency_s": 3e-05,
        "success": True,
        "service_type": "redis",
        "job_id": "campaign-x-job-1",
        "repeat": 1,
        "client": 2,
        "scenario": "mixed",
        "warmup": False,
        "scheduled_s": 0.5,
        "operation_type": "set",
        "ttfb_s": 2e-05,
    }
    assert (second["success"], second["error"], second["http_status"], second["warmup"]) == (False, "timeout", 503, True)
    assert "ttfb_s" not in second


def test_a_request_that_was_never_sent_has_no_times(tmp_path: Path) -> None:
    write(tmp_path, 1, [RECORD.pack(1_000, NAN, NAN, NAN, 0, 0, 0, 8)])
    (only,) = read(tmp_path)
    assert (only["timestamp_start"], only["timestamp_end"], only["latency_s"], only["error"]) == (None, None, None, "open")


def test_jobs_follow_each_other_by_their_numbers_and_a_cut_file_costs_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = RECORD.pack(0, 0.0, 1.0, 2.0, 1, 0, 0, 0)
    for job in (10, 2, 3):
        write(tmp_path, job, [one])
    cut = tmp_path / "requests" / "campaign-x-job-3.bin"
    cut.write_bytes(cut.read_bytes()[:-5])
    assert [line["job_id"] for line in read(tmp_path)] == ["campaign-x-job-2", "campaign-x-job-10"]
    assert "campaign-x-job-3" in caplog.text


def test_what_is_known_of_an_operation_is_in_each_of_its_lines(tmp_path: Path) -> None:
    (tmp_path / "requests").mkdir()
    records = [RECORD.pack(0, 0.0, 1.0, 2.0, 1, 200, operation, 0) for operation in (0, 1)]
    more = {"insert": {"num_vectors": 100.0, "dimension": 8.0}, "query": {"num_vectors": 1.5}}
    header = Header("chroma", ("insert", "query"), (Part(0, "all", 0, 2, 1.7e9, (0, 1)),), more=more)
    (tmp_path / "requests" / "campaign-x-job-1.bin").write_bytes(join(header, records))
    first, second = read(tmp_path)
    assert (first["operation_type"], first["num_vectors"], first["dimension"]) == ("insert", 100, 8)
    assert (second["operation_type"], second["num_vectors"]) == ("query", 1.5)
    assert "dimension" not in second


def test_what_a_language_model_wrote_stands_in_the_line_of_its_request(tmp_path: Path) -> None:
    """The tokens and prompts of each request are in sections after the records of all parts, in the order of the requests."""
    good, failed = RECORD.pack(0, 0.0, 2e6, 110e6, 900, 200, 0, 0), RECORD.pack(5, 0.0, 2e6, 50e6, 300, 200, 0, TIMEOUT)
    written = TOKENS.pack(10e6, 10e6, 100e6, NAN, 7, 11, 0, 11, 11, 1, 2, 1, 0)
    partly = TOKENS.pack(10e6, 10e6, 20e6, NAN, 0, 3, 0, 3, 3, 3, 0, 0, 0)
    prompts = [json.dumps("Why?").encode() + b"\n", json.dumps('a "quoted" one').encode() + b"\n", b"null\n"]
    parts = tuple(Part(0, "requests", client, count, 1_700_000_000.0, (0, 10**9)) for client, count in ((0, 2), (1, 1)))
    of_tokens, of_gaps = Section("tokens", (2 * len(NOTHING), len(NOTHING))), Section("gaps", (8, 0))
    sections = (of_tokens, of_gaps, Section("texts", (len(prompts[0] + prompts[1]), len(prompts[2]))))
    header = Header("openai", ("ask",), parts, sections=sections)
    (tmp_path / "requests").mkdir()
    content = join(header, [good, failed, good, written, partly, NOTHING, b"gaps" * 2, *prompts])
    (tmp_path / "requests" / "campaign-x-job-1.bin").write_bytes(content)
    first, second, third = read(tmp_path)
    assert {name: first[name] for name in ("ttft_s", "tpot_s", "input_tokens", "output_tokens", "prompt")} == {
        **{"ttft_s": pytest.approx(0.01), "tpot_s": pytest.approx(0.01), "input_tokens": 7, "output_tokens": 11, "prompt": "Why?"},
    }
    assert "output_tokens_counted_by" not in first
    assert (second["output_tokens"], second["output_tokens_counted_by"], second["prompt"]) == (3, "events", 'a "quoted" one')
    assert "tpot_s" not in second
    assert not {"ttft_s", "output_tokens", "prompt"} & third.keys()
    of_version_before = json.loads(header.to_line())
    of_version_before.pop("sections")  # what a reader knows that has never heard of sections
    known = Header.from_line(json.dumps(of_version_before).encode())
    assert [part.count for part in known.parts] == [2, 1]


def test_tokens_that_end_too_early_cost_no_other_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = RECORD.pack(0, 0.0, 1.0, 2.0, 1, 200, 0, 0)
    write(tmp_path, 2, [record])
    header = Header("openai", ("ask",), (Part(0, "requests", 0, 1, 1.7e9, (0, 1)),), sections=(Section("tokens", (len(NOTHING),)),))
    (tmp_path / "requests" / "campaign-x-job-1.bin").write_bytes(join(header, [record, NOTHING[:-1]]))
    assert [line["job_id"] for line in read(tmp_path)] == ["campaign-x-job-2"]
    assert "the tokens of campaign-x-job-1.bin end too early" in caplog.text


def test_there_is_no_file_without_records(tmp_path: Path) -> None:
    assert write_requests(tmp_path) is None


@pytest.mark.long
def test_the_memory_does_not_grow_with_the_number_of_requests(tmp_path: Path) -> None:
    count = 300_000
    (tmp_path / "requests").mkdir()
    header = Header("redis", ("get", "set"), (Part(0, "mixed", 0, count, 1.7e9, (0, 1)),))
    with (tmp_path / "requests" / "campaign-x-job-1.bin").open("wb") as file:
        file.write(header.to_line())
        file.write(np.zeros(count * RECORD.size, np.uint8).tobytes())
    tracemalloc.start()
    try:
        path = write_requests(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path is not None
    assert path.stat().st_size > 200 * count
    assert peak < 60e6
