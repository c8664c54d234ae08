"""Runs a whole job on a language model over HTTP, from the assignment to the figures, with a key from the worker's environment."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from shared.protocol.messages import Assignment
from shared.recipes import load_recipe
from shared.recipes.cells import cells_of
from shared.repetition import Warmup
from shared.request_records import NAME, read_header
from shared.workloads import Workload
from tests.measuring import CAMPAIGN, Stages, log_for, supervisor
from tests.model_server import ModelServer, json_answer, model_server, streamed

KEY = "sk-quite-secret"


def test_a_job_has_figures_of_tokens_and_its_key_is_sent_and_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETMARK_WORKER_OPENAI_API_KEY", KEY)
    refused = [(0.0, json_answer(429, {"error": {"message": f"{KEY} asks too much"}}))]
    with model_server(ModelServer(lambda number: refused if number == 3 else streamed(4))) as server:
        recipe = f"""
        service: {{type: openai, address: "{server.address}/v1"}}
        client: {{type: openai_smoke, settings: {{num_requests: 6, input_tokens: 10, max_tokens: 4}}}}
        """
        cell = next(cells_of(load_recipe(recipe)))
        workload = Workload(spec=cell.spec(), target=cell.target(), repeats=1, warmup=Warmup(min_s=0))
        job = Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="api.openai", workload=workload)
        with supervisor(tmp_path) as made:
            outcome = made.run(job, Stages(), log_for(job))
            path = outcome.files[NAME]
            assert isinstance(path, Path)
            content = path.read_bytes()
        assert {line for one in server.log for line in one.head.splitlines() if "Authorization" in line} == {f"Authorization: Bearer {KEY}"}
    assert (outcome.status, outcome.error) == ("complete", "")
    assert outcome.figures is not None
    figures = {figure.name: figure for figure in outcome.figures.figures}
    assert (figures["error_count"].value, figures["output_tokens"].value, figures["input_tokens"].value) == (1, 4, 5)
    assert (figures["ttft_ms_p50"].value or 0) > 0
    assert (figures["client_ceiling_per_s"].value or 0) > 50
    assert outcome.figures.detail["first_error_of_the_service"] == "status 429: *** asks too much"
    assert outcome.figures.detail["failures"]["kinds"] == {"too many requests": 1}
    assert {section.name for section in read_header(io.BytesIO(content)).sections} == {"tokens", "gaps"}
    assert KEY not in repr(outcome)
    assert KEY.encode() not in content
