"""Runs the control plane as in production: one process, a real Redis and a real database. It can count what is stored."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import Engine, create_engine, func, select

from orchestrator.store.tables import Campaign
from shared.protocol import keys
from tests.servers import free_port

START_S = 60.0
ADMIN = "of-whoever-fuzzes"


class Served:
    """Holds a running `orchestrator.cli serve`."""

    def __init__(self, folder: Path, redis_url: str, database_url: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "serve.log"
        self.redis = redis.Redis.from_url(redis_url)
        self._engine: Engine = create_engine(database_url)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")}
        settings = {
            "FLEETMARK_REDIS_URL": redis_url,
            "FLEETMARK_DATABASE_URL": database_url,
            "FLEETMARK_OUTPUTS_DIR": str(folder / "outputs"),
            "FLEETMARK_MODELS_DIR": str(folder / "models"),
            "FLEETMARK_RECIPES_DIR": str(folder / "recipes"),
            "FLEETMARK_TOKEN": ADMIN,  # without this token, the first token that a test makes would end the access of all other calls
            "FLEETMARK_LOG_LEVEL": "warning",
            "FLEETMARK_LOG_FORMAT": "text",  # `mistakes` searches for words of this format
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.cli", "serve", "--port", str(self.port)],
                cwd=folder,
                env=kept | settings | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=60, trust_env=False, verify=False
        )

    def wait(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            assert self.process.poll() is None, self.said()
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/api/health").status_code == 200:
                    return
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def mistakes(self) -> list[str]:
        """Return the lines in which the process reports an error of its own."""
        return [line for line in self.said().splitlines() if " ERROR " in line or " CRITICAL " in line or line.startswith("Traceback")]

    def around_mistakes(self) -> str:
        """Return the log around each of these lines. The lines before name the call, and the lines after are the traceback."""
        lines, wrong = self.said().splitlines(), set(self.mistakes())
        places = [number for number, line in enumerate(lines) if line in wrong]
        return "\n…\n".join("\n".join(lines[max(0, number - 5) : number + 60]) for number in places[:5])

    def kept(self) -> dict[str, int]:
        """Return the number of workers, and the number of rows in each table that a call can add to.

        Events are left out, because the watch writes them too. Workers that have left are counted, because the watch puts them aside later.
        """
        with self._engine.connect() as connection:
            tables = [table for table in Campaign.metadata.sorted_tables if table.name != "events"]
            counts = {table.name: int(connection.scalar(select(func.count()).select_from(table)) or 0) for table in tables}
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.hlen(keys.WORKERS)
            pipeline.hlen(keys.DEPARTED)
            workers: list[Any] = pipeline.execute()
        return counts | {"workers": sum(map(int, workers))}

    def stop(self) -> None:
        self.client.close()
        self.redis.close()
        self._engine.dispose()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def serving(folder: Path, redis_url: str, database_url: str) -> Iterator[Served]:
    """Yield a running server. Afterwards it must still run and must not have logged an error of its own."""
    served = Served(folder, redis_url, database_url)
    try:
        served.wait()
        yield served
        assert served.client.get("/api/health").json()["status"] == "healthy"
        assert served.mistakes() == [], served.around_mistakes()
    finally:
        served.stop()
