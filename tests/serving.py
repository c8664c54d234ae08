"""Runs real servers of language models for tests, and measures them as a job does."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.figures import Outcome
from shared.kinds.load import LoadSpec
from shared.workloads import Workload
from worker.kinds.base import Repeat
from worker.kinds.load import LoadMeasure
from worker.measured.request import RunRequest
from worker.services.base import NotHealthy
from worker.services.pages import asked

READY_S = 600.0


@contextmanager
def running(command: list[str], port: int, page: str) -> Iterator[str]:
    """Run a server until it answers, and return its address."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        end = time.monotonic() + READY_S
        while True:
            assert process.poll() is None, "the server has ended"
            try:
                if asked(port, page)[0] == 200:
                    break
            except NotHealthy:
                assert time.monotonic() < end, "the server did not answer in time"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(address: str, folder: Path, count: int = 10, concurrent: int = 1, **settings: Any) -> Outcome:
    phases = [{"name": "requests", "operations": {"ask": 1.0}, "count": count}]
    content = {
        "service": {"type": "openai"},
        "client": {"type": "openai", "settings": {"max_tokens": 16, "temperature": 0.0, **settings}},
        "phases": phases,
        "concurrent_clients": concurrent,
        "request_timeout_s": 120.0,
    }
    spec = LoadSpec.model_validate(content, strict=False).model_dump(mode="json")
    request = RunRequest("load", "api.openai", spec, str(folder / "1.record"), warmup_min_s=0.0, address=address)
    record = LoadMeasure().run(replace(request, repeat=0), lambda _phase: None)
    workload = Workload.model_validate({"kind": "load", **spec, "repeats": 1}, strict=False)
    outcome = LoadMeasure().derive(workload, [Repeat(record, 1.8e9)], [], "").outcome
    assert outcome is not None
    return outcome


def value(outcome: Outcome, name: str) -> float:
    figure = outcome.figure(name)
    assert figure is not None
    assert figure.value is not None, figure.missing
    return figure.value


def plausible(outcome: Outcome) -> None:
    """Check what must hold for any server."""
    assert value(outcome, "success_rate") == 100, outcome.detail["first_error_of_the_service"]
    latency, ttft, tpot = (value(outcome, f"{name}_p50") for name in ("latency_ms", "ttft_ms", "tpot_ms"))
    assert 0 < value(outcome, "ttfb_ms_p50") <= ttft < latency
    written = value(outcome, "output_tokens")
    assert 1 < written <= 16
    assert ttft + tpot * (written - 1) == pytest.approx(latency, rel=0.3)
    assert value(outcome, "tokens_per_second") == pytest.approx(written * value(outcome, "requests_per_s"), rel=0.3)
    assert outcome.detail["tokens"]["counted_by"] == {"usage": 10}
