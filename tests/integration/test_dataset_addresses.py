"""Tests data sets that a recipe names by an address: the worker fetches them from a real server, and the result knows their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.submit import submit_recipe
from orchestrator.reports.outcomes.work import asked_work
from orchestrator.store import results
from shared.errors import InvalidInput, ModelUnavailable
from shared.ids import job_id
from shared.inputs import ModelRef
from shared.protocol.messages import Assignment
from shared.recipes import parse_recipe
from shared.workloads import Workload
from tests.file_server import FileServer, file_server
from tests.measuring import Stages, supervisor
from tests.unit.orchestrator.reports.bundles import record, result_of
from worker.models import ModelStore
from worker.supervisor import Outcome

TEXT = "A river is water that flows.\n\n\n== Source ==\nIt begins at a spring."
ANSWER = json.dumps({"batchcomplete": True, "query": {"pages": [{"pageid": 1, "ns": 0, "title": "River", "extract": TEXT}]}}).encode()


@pytest.fixture
def wiki() -> Iterator[FileServer]:
    with file_server() as server:
        server.files["/w/api.php"] = ANSWER
        server.files["/set.jsonl"] = b'{"id": "a", "document": "A text.", "summary": "s"}\n'
        yield server


def workload_of(ctx: Context, model: Path, dataset: str) -> Workload:
    """Return what the job of a recipe with this data set shall measure, as the orchestrator has stored it."""
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps({"answers": ["A river flows."]}))
    recipe = {"model": model.as_uri(), "on": ["cpu.torch"], "task": "summarization", "dataset": dataset, "repeats": 1}
    campaign = submit_recipe(ctx, parse_recipe(recipe | {"warmup": {"min_calls": 1, "min_s": 0}})).campaign.id
    with ctx.store.read() as session:
        stored = results.first_workload(session, campaign)
    return Workload.model_validate({name: value for name, value in stored.items() if name != "format"}, strict=False)


def measured(folder: Path, workload: Workload) -> Outcome:
    campaign = "campaign-01m81k4kpq4wq6xn8q"
    one = Assignment(job_id=job_id(campaign, 1), campaign_id=campaign, attempt=1, capability="fake", workload=workload)
    with supervisor(folder) as measurer:  # a worker without torch: the fake generator answers
        return measurer.run(one, Stages())


def test_a_page_of_a_wiki_is_fetched_and_summarized(ctx: Context, tmp_path: Path, wiki: FileServer) -> None:
    workload = workload_of(ctx, tmp_path / "llm", f"{wiki.url}/wiki/River")
    outcome = measured(tmp_path / "worker", workload)
    assert (outcome.status, outcome.error) == ("complete", "")
    ((path, headers),) = wiki.requests
    assert parse_qs(urlsplit(path).query)["titles"] == ["River"]
    assert headers["User-Agent"].startswith("Fleetmark")
    (line,) = [json.loads(one) for one in outcome.files["outputs.jsonl"].splitlines()]  # type: ignore[union-attr]
    assert (line["document_id"], line["references"]) == ("River", ["A river is water that flows."])
    assert outcome.runtime["inputs_sha256"] == {"dataset": hashlib.sha256(ANSWER).hexdigest()}


@pytest.mark.long
def test_lines_are_fetched_too(ctx: Context, tmp_path: Path, wiki: FileServer) -> None:
    outcome = measured(tmp_path / "worker", workload_of(ctx, tmp_path / "llm", f"{wiki.url}/set.jsonl"))
    assert (outcome.status, outcome.error) == ("complete", "")
    assert [json.loads(one)["document_id"] for one in outcome.files["outputs.jsonl"].splitlines()] == ["a"]  # type: ignore[union-attr]


@pytest.mark.long  # the reason itself is tested without a worker, in tests/unit/shared/tasks/test_wiki.py
def test_a_page_that_does_not_exist_fails_the_job_with_its_reason(ctx: Context, tmp_path: Path, wiki: FileServer) -> None:
    wiki.files["/w/api.php"] = b'{"query": {"pages": [{"title": "Rivr", "missing": true}]}}'
    failed = measured(tmp_path / "worker", workload_of(ctx, tmp_path / "llm", f"{wiki.url}/wiki/Rivr"))
    assert failed.status == "failed"
    assert "the wiki has no page 'Rivr'" in failed.error


def test_a_data_set_is_not_fetched_from_the_own_network_of_a_worker(tmp_path: Path, wiki: FileServer) -> None:
    store = ModelStore(tmp_path, host=None, token=None, max_bytes=2**20)
    with pytest.raises(ModelUnavailable, match="which is no public address"):
        store.fetch(ModelRef(source=f"{wiki.url}/w/api.php", name="River"), lambda _share: None)
    assert wiki.requests == []


def test_two_contents_of_one_address_are_not_the_same_work() -> None:
    def work(runtime: Any) -> str:
        return asked_work(record(1, result_of(1, runtime=runtime))).text

    first, second = ({"inputs_sha256": {"dataset": sha256 * 64}} for sha256 in "ab")
    assert work(first) == work(dict(first)) != work(second)
    assert "inputs_sha256" not in work({}), "a result of an earlier version is what it was"


@pytest.mark.parametrize("dataset", ["https://user:SECRET@wiki.example/set.jsonl", "https://en.wikipedia.org/wiki/A?oldid=1"])
def test_an_address_that_no_worker_could_fetch_is_refused_with_the_recipe(dataset: str) -> None:
    with pytest.raises(InvalidInput, match=r"dataset 'https://") as refusal:
        parse_recipe({"model": "a", "on": ["cpu.torch"], "task": "summarization", "dataset": dataset})
    assert "SECRET" not in str(refusal.value)
