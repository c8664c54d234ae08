"""Starts Flower in the same way as users do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.integration.worker_process import ROOT, eventually
from tests.servers import free_port

LOGIN = ("me", "s3cret")


@contextmanager
def flower_on(redis_url: str, folder: Path, **environment: str) -> Iterator[httpx.Client]:
    """Yield a client of Flower's pages and API as soon as Flower answers."""
    port = free_port()
    command = [sys.executable, "-m", "cli.main", "flower", "--port", str(port)]
    settings = {**os.environ, "FLOWER_BASIC_AUTH": ":".join(LOGIN), "FLEETMARK_REDIS_URL": redis_url, **environment}
    with (folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(command, env=settings, cwd=ROOT, stdout=log, stderr=log)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, auth=LOGIN, verify=False) as client:

        def answers() -> bool:
            try:
                return client.get("/healthcheck").is_success
            except httpx.HTTPError:
                return False

        try:
            eventually(answers, "Flower answers")
            yield client
        finally:
            process.terminate()
            process.wait(timeout=30)
