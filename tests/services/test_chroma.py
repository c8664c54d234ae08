"""Tests the driver and the service of Chroma with the real server, which the worker starts."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.services.one_load import load_once
from tests.unit.worker.drivers.test_vector_stores import driver, whole_load
from tests.unit.worker.supervisor.test_service import Services, soon
from worker.drivers.vectors import Population

pytestmark = pytest.mark.long
RECIPE = """
service: {type: chroma}
client:
  type: chroma_stress
  settings: {num_vectors: 3000, dim: 32, num_queries: 700, metric: %s, distribution: %s, concurrent_clients: 2, warmup_delay: 0}
benchmarks: {num_clients: 2, repeats: 1}
warmup: {min_s: 0.1}
"""


@pytest.mark.parametrize(("metric", "distribution"), [("cosine", "clustered"), ("l2", "normal")])
def test_a_load_on_a_chroma_that_the_worker_starts_has_its_figures(tmp_path: Path, metric: str, distribution: str) -> None:
    outcome, _ = load_once(tmp_path, RECIPE % (metric, distribution))
    figures = {figure.name: figure.value for figure in outcome.figures}
    assert figures["success_rate"] == 100
    assert (figures["insert_vps"] or 0) > 0
    assert (figures["query_qps"] or 0) > 0
    assert 0.8 < (figures["recall_at_k"] or 0) <= 1
    assert outcome.detail["by_operation"]["query"]["requests"] == 700
    assert outcome.detail["by_operation"]["insert"]["requests"] == 30
    assert [index["vectors"] for index in outcome.detail["search"]["index"]] == [3000, 3000]


def test_an_index_that_looks_at_fewer_neighbours_finds_less(tmp_path: Path) -> None:
    """Compare two settings of the real index: the recall is measured, and not computed from what was asked for."""
    recalls = []
    for ef_search, neighbours in ((200, 32), (10, 2)):
        settings = f"ef_search: {ef_search}, max_neighbors: {neighbours}"
        recipe = (RECIPE % ("l2", "normal")).replace("dim: 32", f"dim: 32, {settings}")
        outcome, _ = load_once(tmp_path / str(ef_search), recipe)
        recalls.append(next(figure.value for figure in outcome.figures if figure.name == "recall_at_k") or 0)
    assert recalls[0] > 0.95
    assert recalls[1] < recalls[0] - 0.05


def test_the_server_stores_the_vectors_that_the_exact_search_knows(tmp_path: Path) -> None:
    """Ask the server itself, by a client that shares no code with ours."""
    services = Services()
    service = services.of_recipe("service: {type: chroma}\nclient: {type: chroma, settings: {warmup_delay: 0}}")
    service.check()
    address = service.ready(soon())
    try:
        port = int(address.rpartition(":")[2])
        made = driver("chroma", port, size=40, dim=4)
        asyncio.run(whole_load(made, inserts=5, queries=3))
        base = "/api/v2/tenants/default_tenant/databases/default_database/collections"
        collection = _asked(port, "GET", f"{base}/benchmark")["id"]
        told = _asked(port, "POST", f"{base}/{collection}/get", {"limit": 100, "include": ["embeddings"]})
        rows = Population(4, "clustered").rows(0, 40).astype(np.float32)
        stored = {int(number): row for number, row in zip(told["ids"], told["embeddings"], strict=True)}
        assert sorted(stored) == list(range(40))
        assert all(np.allclose(stored[number], rows[number], atol=1e-6) for number in stored)
        asyncio.run(made.clean())
    finally:
        service.end()


def _asked(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer
