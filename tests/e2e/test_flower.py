"""Tests Flower while its broker is away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.servers import RedisServer, free_port, server_folder


def test_flower_answers_and_ends_while_its_broker_is_gone(tmp_path: Path) -> None:
    port = free_port()
    environment = os.environ | {"FLOWER_UNAUTHENTICATED_API": "true"}
    with server_folder() as folder:
        redis = RedisServer(folder)
        redis.start()
        command = [sys.executable, "-m", "cli.main", "flower", "--redis-url", redis.url, "--port", str(port)]
        flower = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not _answers(port):
                assert flower.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            # Wait until Flower's own first look at the workers is over. It would wait for the broker, and this request would wait behind
            # it.
            assert _workers(port, timeout_s=60) == 200
            redis.stop()
            assert _workers(port, timeout_s=30) == 200
            flower.terminate()
            assert flower.wait(timeout=30) == 0
        finally:
            flower.kill()
            flower.wait()
            redis.stop()


def _workers(port: int, timeout_s: float) -> int:
    return httpx.get(f"http://127.0.0.1:{port}/api/workers", params={"refresh": "1"}, timeout=timeout_s, verify=False).status_code


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/workers", timeout=5, verify=False).status_code == 200
    except httpx.TransportError:
        return False
