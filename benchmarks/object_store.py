"""Compares our clients of S3 with rclone's own client, on the same server, in turns.

    python -m benchmarks.object_store [objects of each turn, default 200] [turns, default 5]

The server is `rclone serve s3` with its objects in a folder. rclone copies objects of 1 MiB to it and from it with four transfers at once;
our client, one process, writes and reads as many objects of the same size with four requests in flight. What is compared is bytes of
objects per second. Client and server share the cores, so what a client takes for itself, the server lacks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter_ns

import numpy as np

from shared.request_records import record_type
from tests.s3_server import KEYS, S3Server
from worker.load.arrivals import Shape
from worker.load.clients import Clients
from worker.load.phases import Measured, rate
from worker.load.plan import ClientPlan, PhasePlan
from worker.services.minio import find_program

SIZE = 2**20
AT_ONCE = 4
TARGET = 0.8


def ours(server: S3Server, operation: str, objects: int) -> float:
    """Return the bytes of objects per second of our client."""
    settings = {"num_objects": objects, "object_size_bytes": SIZE, "bucket": "ours"}
    with tempfile.TemporaryDirectory() as folder:
        phase = PhasePlan("all", {operation: 1.0}, Shape(), count=objects)
        with Clients([ClientPlan("minio", server.url, settings, (phase,), AT_ONCE, 0, 1, "1", 30.0, folder)]) as clients:
            clients.prepare()
            clients.make_ready(0)
            run = clients.run(0)
            clients.clean()
        records = np.fromfile(run.files[0], record_type())
    failed = records[records["failure"] > 0]
    assert not len(failed), (failed[:3], run.facts)
    return rate([Measured("all", records, None, False)]) * SIZE


def of_rclone(server: S3Server, source: Path, operation: str, objects: int) -> float:
    """Return the bytes of objects per second of rclone, from its first to its last byte: its start is not counted."""
    remote = (
        f":s3,provider=Rclone,access_key_id={KEYS['root_user']},secret_access_key={KEYS['root_password']},"
        f"endpoint='http://127.0.0.1:{server.port}':theirs"
    )
    common = ["--config", str(source / "none.conf"), "--transfers", str(AT_ONCE), "--no-traverse", "--s3-no-check-bucket"]
    common += ["--ignore-times", "--s3-disable-checksum"]
    with tempfile.TemporaryDirectory() as target:
        ends = [str(source / "objects"), remote] if operation == "put" else [remote, target]

        def took_s(*more: str) -> float:
            begin = perf_counter_ns()
            subprocess.run([str(find_program("rclone")), "copy", *common, *more, *ends], check=True, env=os.environ.copy())
            return (perf_counter_ns() - begin) / 1e9

        start_s = took_s("--dry-run", "--quiet")  # starting, and looking at what there is
        return objects * SIZE / max(0.001, took_s() - start_s)


def main(arguments: list[str]) -> int:
    objects, turns = (int(value) for value in [*arguments, *("200", "5")[len(arguments) :]])
    reached: dict[str, list[tuple[float, float]]] = {"put": [], "get": []}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "objects").mkdir()
        block = os.urandom(SIZE - 8)
        for number in range(objects):
            (place / "objects" / f"{number:06}").write_bytes(number.to_bytes(8, "big") + block)
        server = S3Server(place / "server", quiet=True)
        server.start()
        try:
            server.put("/theirs")
            for _ in range(turns):
                for operation, pairs in reached.items():
                    pairs.append((ours(server, operation, objects), of_rclone(server, place, operation, objects)))
        finally:
            server.stop()
            shutil.rmtree(place / "server", ignore_errors=True)
    worst = 1e9
    for operation, pairs in reached.items():
        ratio = median(one / other for one, other in pairs)
        worst = min(worst, ratio)
        mine, theirs = (median(pair[place] for pair in pairs) / 1e6 for place in (0, 1))
        print(f"{operation}: {mine:.0f} MB/s with our client, {theirs:.0f} MB/s with rclone; ratio {ratio:.2f} (median of {turns} turns)")
    print(f"target: at least {TARGET} of rclone: {'met' if worst >= TARGET else 'MISSED'}")
    return 0 if worst >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
