"""Runs a real S3 server for the tests: `rclone serve s3`, which counts the bytes and the objects that it is asked for."""

from __future__ import annotations

import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from tests.servers import free_port, stop_process
from tests.tls import Authority
from worker.drivers.s3_signing import Signer
from worker.services.minio import environment, find_program

KEYS = {"program": "rclone", "root_user": "an-access-key", "root_password": "a-secret-key"}
LOGIN = f"{KEYS['root_user']}:{KEYS['root_password']}"


class S3Server:
    """Is a server whose buckets are folders in `data`. It speaks TLS with a certificate of `authority`."""

    def __init__(self, folder: Path, authority: Authority | None = None, *, quiet: bool = False) -> None:
        self._words = [] if quiet else ["-vv"]  # without its long log, it cannot count objects
        self._tls = [] if authority is None else ["--cert", str(authority.cert_file), "--key", str(authority.key_file)]
        self.data = folder / "data"
        self.port, self._control = free_port(), free_port()
        self._folder, self._log = folder, folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOGIN}@127.0.0.1:{self.port}"

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        own = [*self._words, "--config", str(self._folder / "none.conf"), "--rc", "--rc-no-auth", "--rc-addr", f"127.0.0.1:{self._control}"]
        serve = ["serve", "s3", *self._tls, "--addr", f"127.0.0.1:{self.port}", str(self.data)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(find_program("rclone")), *own, *serve], env=os.environ | environment(KEYS), stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                self._told()
                httpx.get(f"http://127.0.0.1:{self.port}")
            except httpx.TransportError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def counted_bytes(self) -> int:
        """Return how many bytes of objects the server has taken and given since it started."""
        before, now = -1, self._told()
        while now != before:  # it counts an object a moment after it has sent it
            time.sleep(0.02)
            before, now = now, self._told()
        return now

    def _told(self) -> int:
        return int(httpx.post(f"http://127.0.0.1:{self._control}/core/stats").json()["bytes"])

    def counted_objects(self) -> int:
        """Return how many objects the server was asked to write or to read since it started, by its log."""
        log = self._log.read_text()
        return log.count("serve s3: CREATE OBJECT") + log.count("serve s3: GET OBJECT")

    def put(self, path: str, content: bytes = b"") -> None:
        """Make a bucket (`/bucket`) or an object (`/bucket/key`), as another client of the server would."""
        place = f"127.0.0.1:{self.port}"
        signer = Signer(KEYS["root_user"], KEYS["root_password"], "us-east-1")
        target = signer.target("PUT", place, path, {}, datetime.now(UTC))
        httpx.put(f"http://{place}{target}", content=content).raise_for_status()

    def objects(self) -> dict[str, bytes]:
        """Return the content of every object, by its bucket and its key."""
        return {str(path.relative_to(self.data)): path.read_bytes() for path in self.data.rglob("*") if path.is_file()}

    def stop(self) -> None:
        if self._process is not None:
            stop_process(self._process)
            self._process = None
