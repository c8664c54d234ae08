"""Starts a real control plane in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from shared.tls import verification
from tests.integration.worker_process import ROOT, eventually
from tests.servers import free_port


class Orchestrator:
    """Runs the real control plane in a process of its own, on SQLite."""

    def __init__(self, redis_url: str, folder: Path, ca_file: Path | None = None, root: Path = ROOT, **environment: str) -> None:
        """Prepare the process.

        Args:
            root: the folder with the code that it runs.
            ca_file: the certificate of the authority that signed the server's certificate, if `environment` makes it serve https.
        """
        self.folder = folder
        self.url = f"{'http' if ca_file is None else 'https'}://127.0.0.1:{free_port()}"
        self.verify = verification(ca_file)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")},
            "FLEETMARK_REDIS_URL": redis_url,
            "FLEETMARK_DATABASE_URL": f"sqlite:///{folder / 'fleetmark.db'}",
            "FLEETMARK_OUTPUTS_DIR": str(folder / "outputs"),
            "FLEETMARK_MODELS_DIR": str(folder / "models"),
            "FLEETMARK_TOKEN": "a-token",
            **environment,
        }
        folder.mkdir(exist_ok=True)
        self._log = (folder / "orchestrator.log").open("wb")
        command = [sys.executable, "-m", "orchestrator.cli", "serve", "--port", self.url.rpartition(":")[2]]
        self.process = subprocess.Popen(command, env=self.environment, cwd=root, stdout=self._log, stderr=self._log)
        eventually(self._healthy, "the orchestrator answers")

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/health", verify=self.verify).is_success
        except httpx.HTTPError:
            return False

    def client(self) -> httpx.Client:
        headers = {"Authorization": "Bearer a-token"}
        return httpx.Client(base_url=f"{self.url}/api", headers=headers, timeout=30, verify=self.verify)

    def log(self) -> str:
        return (self.folder / "orchestrator.log").read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self._log.close()
