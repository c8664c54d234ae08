"""Compares our clients of services under load with those that people know, on the same server, in turns.

    python -m benchmarks.load_clients [seconds of each turn, default 2] [turns, default 5] [a Python that has aiohttp, uvloop and locust]

- Redis, GET and SET in halves, no pipeline: redis-py (asyncio), and redis-benchmark or valkey-benchmark where one is installed,
- PostgreSQL, one row by its key, prepared: pgbench `-M prepared -S`,
- HTTP, small answers, from a null server: aiohttp and locust (`FastHttpUser`), where that Python has them, and wrk as the limit, where
  it is installed,
- the schedule: sent minus scheduled at 1 000 requests per second, and how late a bare loop is that only sleeps until each moment.

Each client is one process. What is compared is requests per second by the wall clock, and per second of the client's own CPU time: the
second does not depend on what else the machine does.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psycopg

from shared.request_records import record_type
from tests.servers import PostgresServer, RedisServer, server_folder
from worker.interpreter import python_command
from worker.load.arrivals import Shape
from worker.load.clients import Clients
from worker.load.phases import Measured, rate, rate_achieved, rate_asked
from worker.load.plan import ClientPlan, PhasePlan
from worker.load.samples import latencies_ms

REDIS_BENCHMARK = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
WRK = shutil.which("wrk")


@dataclass(frozen=True)
class Turn:
    """Holds what one client reached in one turn. `per_cpu_s` are the requests for each second of CPU time of the client's process."""

    per_s: float
    p50_ms: float
    per_cpu_s: float
    mean_ms: float = math.nan


def ours(
    driver: str, address: str, operations: dict[str, float], concurrent: int, seconds: float, shape: Shape | None = None, **settings: object
) -> tuple[Turn, Measured]:
    with tempfile.TemporaryDirectory() as folder:
        phase = PhasePlan("all", operations, shape or Shape(), duration_s=seconds, lead_s=0.3)
        plan = ClientPlan(driver, address, settings, (phase,), concurrent, 0, 1, "1", 30.0, folder)
        with Clients([plan]) as clients:
            clients.prepare()
            clients.make_ready(0)
            run = clients.run(0)
            clients.clean()
        records = np.fromfile(run.files[0], record_type())
    measured = Measured("all", records, seconds, phase.shape.is_open)
    per_s = rate([measured])
    cpu_s = run.facts[0]["cpu_ns"] / 1e9
    latencies = latencies_ms([measured])
    return Turn(per_s, float(np.median(latencies)), len(records) / cpu_s, float(latencies.mean())), measured


def in_process(code: str, *arguments: object, python: str = sys.executable) -> Turn:
    """Run another Python client in a fresh process: it prints its requests, seconds, CPU seconds, and its median or its mean latency."""
    done = subprocess.run([python, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True)
    requests, wall_s, cpu_s, p50_ms, *mean_ms = json.loads(done.stdout)
    return Turn(requests / wall_s, p50_ms, requests / cpu_s, *mean_ms)


def has(python: str, *modules: str) -> bool:
    """Return whether a Python can import the modules."""
    return subprocess.run([python, "-c", f"import {', '.join(modules)}"], capture_output=True, check=False).returncode == 0


LOOP = """
import asyncio, json, sys, time
import uvloop
async def main(make, concurrent, seconds):
    taken = []
    async def client():
        ask, close = await make()
        for n in range(50): await ask(n)
        end = time.perf_counter() + seconds
        n = 0
        while (before := time.perf_counter()) < end:
            await ask(n); n += 1
            taken.append(time.perf_counter() - before)
        await close()
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(concurrent)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    taken.sort()
    print(json.dumps([len(taken), wall, cpu, taken[len(taken) // 2] * 1e3]))
"""

REDIS_PY = (
    LOOP
    + """
import redis.asyncio, random
port, concurrent, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
draw = random.Random(1)
keys = ["fleetmark:%022d" % draw.randrange(10_000) for _ in range(65_536)]
async def make():
    client = redis.asyncio.Redis(port=port, single_connection_client=True)
    await client.initialize()
    async def ask(n):
        key = keys[n % 65_536]
        await (client.get(key) if n & 1 else client.set(key, b"v" * 256))
    return ask, client.aclose
uvloop.run(main(make, concurrent, seconds))
"""
)

AIOHTTP = (
    LOOP
    + """
import aiohttp
url, concurrent, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
async def make():
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
    async def ask(n):
        async with session.get(url) as answer:
            await answer.read()
    return ask, session.close
uvloop.run(main(make, concurrent, seconds))
"""
)

# Its median is rounded to whole milliseconds, so its mean is compared. Users start a second before their requests count.
LOCUST = """
from gevent import monkey; monkey.patch_all()
import json, sys, time
import gevent
from locust import FastHttpUser, task
from locust.env import Environment
url, concurrent, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
class User(FastHttpUser):
    host = url.rstrip("/")
    @task
    def ask(self): self.client.get("/")
environment = Environment(user_classes=[User])
runner = environment.create_local_runner()
runner.start(concurrent, spawn_rate=concurrent)
gevent.sleep(1)
environment.stats.reset_all()
wall, cpu = time.perf_counter(), time.process_time()
gevent.sleep(seconds)
wall, cpu, total = time.perf_counter() - wall, time.process_time() - cpu, environment.stats.total
print(json.dumps([total.num_requests, wall, cpu, float("nan"), total.avg_response_time]))
assert total.num_requests and not total.num_failures, (total.num_requests, total.num_failures)
sys.stdout.flush()
runner.quit()
"""


def bare_lateness_ms(rate: float, seconds: float) -> float:
    """Return the 99th percentile of how late a process is that does nothing but sleep until each moment of a schedule."""
    code = """
import sys, time
gap, count = 1 / float(sys.argv[1]), int(float(sys.argv[1]) * float(sys.argv[2]))
begin, late = time.perf_counter() + 0.1, []
for number in range(count):
    due = begin + number * gap
    left = due - time.perf_counter()
    if left > 0:
        time.sleep(left)
    late.append(time.perf_counter() - due)
print(sorted(late)[count * 99 // 100] * 1e3)
"""
    return float(subprocess.run([sys.executable, "-c", code, str(rate), str(seconds)], capture_output=True, text=True, check=True).stdout)


def native_redis(port: int, concurrent: int, seconds: float) -> Turn:
    assert REDIS_BENCHMARK is not None
    requests = int(40_000 * seconds)
    command = [
        REDIS_BENCHMARK,
        "-p",
        str(port),
        "-c",
        str(concurrent),
        "-n",
        str(requests),
        "-d",
        "256",
        "-r",
        "10000",
        "-t",
        "get,set",
        "--csv",
    ]
    cpu = os.times().children_user + os.times().children_system
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    cpu = os.times().children_user + os.times().children_system - cpu
    cells = [[cell.strip('"') for cell in line.split(",")] for line in lines]
    return Turn(median(float(row[1]) for row in cells), median(float(row[4]) for row in cells), 2 * requests / cpu)


def pgbench(server: PostgresServer, concurrent: int, seconds: float) -> Turn:
    command = [str(server.bin / "pgbench"), "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-n", "-M", "prepared", "-S"]
    cpu = os.times().children_user + os.times().children_system
    said = subprocess.run(
        [*command, "-c", str(concurrent), "-T", str(max(1, round(seconds))), "postgres"], capture_output=True, text=True, check=True
    ).stdout
    cpu = os.times().children_user + os.times().children_system - cpu
    tps = float(re.search(r"tps = ([\d.]+)", said)[1])  # type: ignore[index]
    mean_ms = float(re.search(r"latency average = ([\d.]+)", said)[1])  # type: ignore[index]
    done = int(re.search(r"actually processed: (\d+)", said)[1])  # type: ignore[index]
    return Turn(tps, math.nan, done / cpu, mean_ms)


def wrk(url: str, concurrent: int, seconds: float) -> Turn:
    assert WRK is not None
    command = [WRK, "-t", "1", "-c", str(concurrent), "-d", f"{max(1, round(seconds))}s", "--latency", url]
    cpu = os.times().children_user + os.times().children_system
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = os.times().children_user + os.times().children_system - cpu
    per_s, done = float(re.search(r"Requests/sec: +([\d.]+)", said)[1]), int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
    amount, unit = re.search(r"50% +([\d.]+)(us|ms|s)", said).groups()  # type: ignore[union-attr]
    return Turn(per_s, float(amount) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit], done / cpu)


@contextmanager
def null_server(wire: str, size: int = 20) -> Iterator[str]:
    process = subprocess.Popen(
        python_command("worker.load.null_server", wire, str(size)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.communicate()


def compare(what: str, turns: int, first: Callable[[], Turn], others: dict[str, Callable[[], Turn]]) -> None:
    """Run the clients in turns, and print the ratios of their medians."""
    found: dict[str, list[Turn]] = {name: [] for name in ("ours", *others)}
    for _ in range(turns):
        found["ours"].append(first())
        for name, call in others.items():
            found[name].append(call())
    mine = found["ours"]
    print(f"{what}: ours {_said(mine)}")
    for name in others:
        theirs = found[name]
        ratios = sorted(a.per_s / b.per_s for a, b in zip(mine, theirs, strict=True))
        cpu = median(a.per_cpu_s / b.per_cpu_s for a, b in zip(mine, theirs, strict=True))
        of = "mean" if math.isnan(theirs[0].p50_ms) else "median"
        latency = median(a.mean_ms / b.mean_ms if of == "mean" else a.p50_ms / b.p50_ms for a, b in zip(mine, theirs, strict=True))
        print(
            f"  against {name} {_said(theirs)}: {median(ratios):.2f} x its rate ({ratios[0]:.2f}-{ratios[-1]:.2f}), "
            f"{cpu:.2f} x per CPU second, {of} latency {latency:.2f} x"
        )


def _said(turns: list[Turn]) -> str:
    per_s, p50_ms, mean_ms, per_cpu_s = (
        median(getattr(turn, name) for turn in turns) for name in ("per_s", "p50_ms", "mean_ms", "per_cpu_s")
    )
    latency = f"mean {mean_ms:.3f} ms" if math.isnan(p50_ms) else f"median {p50_ms:.3f} ms"
    return f"{per_s:.0f}/s, {latency}, {per_cpu_s:.0f} per CPU second"


def main(seconds: float = 2.0, turns: int = 5, python: str = sys.executable) -> None:
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {turns} turns of {seconds:g} s each")
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        redis_server = RedisServer(folder, append_only=False)
        redis_server.start()
        stack.callback(redis_server.stop)
        mix = {"get": 1.0, "set": 1.0}
        for concurrent in (1, 8):
            others: dict[str, Callable[[], Turn]] = {"redis-py": lambda: in_process(REDIS_PY, redis_server.port, concurrent, seconds)}  # noqa: B023
            if REDIS_BENCHMARK:
                others[Path(REDIS_BENCHMARK).name] = lambda: native_redis(redis_server.port, concurrent, seconds)  # noqa: B023
            compare(f"Redis, {concurrent} in flight", turns, lambda: ours("redis", redis_server.place, mix, concurrent, seconds)[0], others)  # noqa: B023
        with null_server("http") as place:
            url = f"http://{place}/"
            for concurrent in (1, 16):
                others = {}
                if has(python, "aiohttp", "uvloop"):
                    others["aiohttp"] = lambda: in_process(AIOHTTP, url, concurrent, seconds, python=python)  # noqa: B023
                if has(python, "locust"):
                    others["locust's FastHttpUser"] = lambda: in_process(LOCUST, url, concurrent, seconds, python=python)  # noqa: B023
                if WRK:
                    others["wrk"] = lambda: wrk(url, concurrent, seconds)  # noqa: B023
                compare(f"HTTP, {concurrent} in flight", turns, lambda: ours("http", place, {"get": 1.0}, concurrent, seconds)[0], others)  # noqa: B023
            shape = Shape("constant", rate=1_000.0)
            late, bare, asked = [], [], []
            for _ in range(turns):
                _, measured = ours("http", place, {"get": 1.0}, 64, seconds, shape)
                late.append(float(np.percentile(latencies_ms([measured], of="delay"), 99)))
                asked.append(rate_achieved([measured]) / (rate_asked([measured]) or 1))
                bare.append(bare_lateness_ms(1_000.0, seconds))
            print(f"schedule of 1 000/s: sent - scheduled p99 {median(late):.3f} ms ({min(late):.3f}-{max(late):.3f}), ", end="")
            print(f"a bare loop {median(bare):.3f} ms ({min(bare):.3f}-{max(bare):.3f}), achieved/asked {median(asked):.4f}")
        postgres = PostgresServer(stack.enter_context(server_folder()))
        postgres.start()
        stack.callback(postgres.stop)
        fill = [str(postgres.bin / "pgbench"), "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres", "-i", "-q", "postgres"]
        subprocess.run(fill, check=True, capture_output=True)
        with psycopg.connect(f"host=127.0.0.1 port={postgres.port} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        address = f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres"
        for concurrent in (1, 8):
            compare(
                f"PostgreSQL, {concurrent} in flight",
                turns,
                lambda: ours("postgres", address, {"select": 1.0}, concurrent, seconds, num_rows=100_000)[0],  # noqa: B023
                {"pgbench": lambda: pgbench(postgres, concurrent, seconds)},  # noqa: B023
            )


if __name__ == "__main__":
    main(*(convert(text) for convert, text in zip((float, int, str), sys.argv[1:], strict=False)))
