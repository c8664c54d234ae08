from __future__ import annotations

import pytest

from benchmarks.job_overhead import wait_for_a_worker
from shared.web import web_client
from tests.servers import free_port
from tests.unit.cli.scripted_server import scripted_server


def test_a_worker_is_waited_for_until_it_has_registered() -> None:
    with scripted_server() as server, web_client(server.url, timeout=5, direct=True) as client:
        server.on("GET /api/workers", {"count": 0, "workers": []}, {"count": 1, "workers": []})
        wait_for_a_worker(client, patience_s=30)
        assert len(server.requests) == 2


def test_a_worker_that_never_registers_is_not_waited_for_without_end() -> None:
    with scripted_server() as server, web_client(server.url, timeout=5, direct=True) as client:
        server.on("GET /api/workers", {"count": 0, "workers": []})
        with pytest.raises(SystemExit, match=r"no worker registered within 0\.3 s; the orchestrator last answered: 200 .*count"):
            wait_for_a_worker(client, patience_s=0.3)
    with (
        web_client(f"http://127.0.0.1:{free_port()}", timeout=5, direct=True) as client,
        pytest.raises(SystemExit, match=r"last answered: .*refused"),
    ):
        wait_for_a_worker(client, patience_s=0.3)
