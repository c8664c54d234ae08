"""Tests how the JSON of `vllm bench serve` becomes records, and which command line the settings become."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import CLOSED, NOT_CONNECTED, STATUS, SUCCESS, TIMEOUT, TOO_MANY, WRONG
from shared.services.registry import SERVICES
from worker.load.figures import outcome_of
from worker.load.phases import Measured
from worker.load.records import RecordFile
from worker.load.tokens import token_blocks
from worker.tools.base import ToolPhase
from worker.tools.vllm_bench import VllmBench, failure_of, warm_up_of, write_records

# In the form of vLLM 0.32; the numbers are ours. The second request failed, and the server did not count the tokens of the third.
TOLD: dict[str, Any] = {
    "start_times": [100.0, 100.1, 100.5],
    "queue_times": [0.0, 0.1, 0.25],
    "ttfts": [0.02, 0.0, 0.01],
    "itls": [[0.005, 0.005, 0.01], [], [0.03, 0.03, 0.03, 0.03]],
    "input_lens": [7, 1, 1],
    "output_lens": [4, 0, 1],
    "errors": ["", "Service Unavailable", ""],
}


def phase(folder: Path, **more: Any) -> ToolPhase:
    given: dict[str, Any] = {"rate": None, "in_flight": 6, "processes": 2, "count": 3, "duration_s": None, "lead_s": 0.0, "seed": 7, **more}
    return ToolPhase(name="requests", operations={"ask": 1.0}, folder=folder, **given)


def tool(**settings: Any) -> VllmBench:
    known = SERVICES["openai"].client().model_dump(mode="json")
    return VllmBench("http://host:8000/v1", {**known, "model": "m", **settings}, {})


def measured(folder: Path, *, scheduled: bool) -> Measured:
    path = folder / "requests.records"
    assert write_records(path, TOLD, 0, scheduled=scheduled) == 100.0
    return Measured("requests", (RecordFile(path, 3),), None, open_loop=scheduled)


def test_each_request_becomes_a_record_with_its_tokens_and_gaps(tmp_path: Path) -> None:
    (block,) = token_blocks(measured(tmp_path, scheduled=False))
    assert block.records["scheduled"].tolist() == [0, 100_000_000, 500_000_000]
    assert block.records["delay"].tolist() == [0, 0, 0]
    assert block.records["last"] / 1e6 == pytest.approx([40, 0, 130])
    assert block.records["failure"].tolist() == [SUCCESS, STATUS, SUCCESS]
    assert block.records["status"].tolist() == [0, 503, 0]
    assert block.tokens["ttft"][[0, 2]] / 1e6 == pytest.approx([20, 10])
    assert block.tokens["output"].tolist() == [4, 0, 5], "a server that counts nothing leaves us the events"
    assert block.tokens["input"].tolist() == [7, 0, 0]
    assert block.gaps / 1e6 == pytest.approx([5, 5, 10, 30, 30, 30, 30])


def test_with_a_rate_a_request_is_due_before_it_waits_in_the_tool(tmp_path: Path) -> None:
    (block,) = token_blocks(measured(tmp_path, scheduled=True))
    assert block.records["scheduled"].tolist() == [0, 0, 250_000_000]
    assert block.records["delay"] / 1e6 == pytest.approx([0, 100, 250])


@pytest.mark.parametrize(("more", "number"), [({}, 0), ({"lead_s": 1.0}, 12), ({"lead_s": 2.0, "rate": 7.0}, 14)])
def test_a_warm_up_is_a_number_of_requests(more: dict[str, Any], number: int, tmp_path: Path) -> None:
    assert warm_up_of(phase(tmp_path, **more)) == number


def test_the_requests_of_a_warm_up_are_due_before_the_window(tmp_path: Path) -> None:
    path = tmp_path / "requests.records"
    assert write_records(path, TOLD, 1, scheduled=False) == 100.1
    tally = Measured("requests", (RecordFile(path, 3),), None, open_loop=False).tally
    assert (tally.warm_up, tally.measured) == (1, 2)


def test_our_figures_are_made_of_what_it_tells(tmp_path: Path) -> None:
    found = outcome_of([[measured(tmp_path, scheduled=False)]], service_type="vllm", operations=["ask"], concurrency=6, ceiling_per_s=None)
    value = {figure.name: figure.value for figure in found.figures}
    assert value["ttft_ms_p50"] == pytest.approx(15)
    assert value["tpot_ms_p50"] == pytest.approx((20 / 3 + 120 / 4) / 2)
    assert value["itl_ms_p50"] == pytest.approx(float(np.median([5, 5, 10, 30, 30, 30, 30])))
    assert value["success_rate"] == pytest.approx(200 / 3)
    assert found.detail["tokens"]["counted_by"] == {"usage": 1, "events": 1}


def test_the_settings_become_the_command_line_and_the_body_is_that_of_our_own_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    words = tool(max_tokens=32, extra_body={"top_p": 0.5}).words(phase(tmp_path, rate=2.5, burstiness=math.inf), "m")
    body = json.loads(words.pop(words.index("--extra-body") + 1))
    assert body == {"temperature": 0.0, "max_tokens": 32, "max_completion_tokens": 32, "top_p": 0.5}
    assert " ".join(words[1:]) == (
        "bench serve --backend openai-chat --model m --base-url http://host:8000 --endpoint /v1/chat/completions --dataset-name custom "
        "--dataset-path requests.jsonl --disable-shuffle --skip-tokenizer-init --num-prompts 3 --max-concurrency 6 --request-rate 2.5 "
        "--burstiness inf --seed 7 --extra-body --percentile-metrics e2el --ready-check-timeout-sec 0 --save-result --save-detailed "
        "--result-filename requests.bench.json"
    )
    closed = tool(endpoint="completions", ignore_eos=True).words(phase(tmp_path), "m")
    assert " ".join(closed[3:5]) == "--backend openai"
    assert closed[closed.index("--request-rate") + 1] == "inf"
    assert json.loads(closed[closed.index("--extra-body") + 1]) == {"temperature": 0.0, "max_tokens": 64, "ignore_eos": True}


@pytest.mark.parametrize(
    ("settings", "asked", "message"),
    [
        ({}, {"count": None, "duration_s": 3.0}, "takes a number of requests and no time"),
        ({"prompts": ["1", "2e3"]}, {}, "would send prompts such as '(1|2e3)', which are all numbers"),
    ],
)
def test_what_it_would_do_otherwise_than_the_recipe_says_is_refused(
    settings: dict[str, Any], asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelInvalid, match=message):
        tool(**settings).run(phase(tmp_path, **asked), lambda _news: None, lambda: False)


def test_a_key_of_the_user_is_not_sent_to_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vllm").write_text('#!/bin/sh\necho "ValueError: key $OPENAI_API_KEY." >&2\nexit 1\n')
    (tmp_path / "vllm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("OPENAI_API_KEY", "the-users-own")
    with pytest.raises(EngineUnavailable, match=r"ValueError: key \.$"):
        tool().run(phase(tmp_path), lambda _news: None, lambda: False)


@pytest.mark.parametrize(
    ("error", "answered", "failure", "status"),
    [
        ("", True, SUCCESS, 0),
        ("", False, WRONG, 0),
        ("Too Many Requests", False, TOO_MANY, 429),
        ("Not Found", False, STATUS, 404),
        ("Slow down", False, STATUS, 0),
        ("Traceback (most recent call last):\n  aiohttp.client_exceptions.ClientConnectorError: refused", False, NOT_CONNECTED, 0),
        ("Traceback (most recent call last):\n  aiohttp.client_exceptions.ServerDisconnectedError", True, CLOSED, 0),
        ("Traceback (most recent call last):\n  TimeoutError", False, TIMEOUT, 0),
        ("Never received a valid chunk to calculate TTFT.", False, WRONG, 0),
    ],
)
def test_what_it_says_of_a_failure_becomes_one_of_ours(error: str, answered: bool, failure: int, status: int) -> None:
    assert failure_of(error, answered=answered) == (failure, status)
