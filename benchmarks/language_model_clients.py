"""Compares our client of language models with aiohttp, on the same server, in turns: streams of 100 events (SSE).

    python -m benchmarks.language_model_clients [seconds of each turn, default 2] [turns, default 5] [a Python that has aiohttp and uvloop]

The server is the null server of OpenAI's protocol, which writes each event by itself and computes nothing. aiohttp runs on uvloop, too. It
is used as `vllm bench serve` and others use it: it stamps each event and reads its JSON when it arrives. A second variant only stamps. Ours
reads the JSON after the load; the time for that is told apart, and the sum is compared, too.

What is compared is requests per second of the client's own CPU time (of one core), because the server shares the cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.load_clients import LOOP, null_server
from shared.request_records import record_type
from worker.load.arrivals import Shape
from worker.load.clients import Clients
from worker.load.plan import ClientPlan, PhasePlan

EVENTS = 100
TARGET = 2.0
AIOHTTP = (
    LOOP
    + """
import aiohttp
url, concurrent, seconds, parse = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "parse"
body = {"model": "null", "messages": [{"role": "user", "content": "Hello world"}], "stream": True, "max_tokens": 100}
async def make():
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
    async def ask(n):
        stamps, text = [], []
        async with session.post(url, json=body) as answer:
            async for line in answer.content:
                if not line.startswith(b"data: "):
                    continue
                now = time.perf_counter()
                data = line[6:].strip()
                if data == b"[DONE]":
                    continue
                if parse:
                    for choice in json.loads(data)["choices"]:
                        if choice["delta"].get("content"):
                            stamps.append(now)
                            text.append(choice["delta"]["content"])
                else:
                    stamps.append(now)
        assert len(stamps) >= 100
    return ask, session.close
uvloop.run(main(make, concurrent, seconds))
"""
)


def ours(place: str, concurrent: int, seconds: float) -> tuple[float, float]:
    """Return the requests per CPU second while the load runs, and with the reading of the answers afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        phase = PhasePlan("requests", {"ask": 1.0}, Shape(), duration_s=seconds, lead_s=0.3)
        settings = {"model": "null", "max_tokens": EVENTS}
        plan = ClientPlan("openai", f"http://{place}/v1", settings, (phase,), concurrent, 0, 1, "1", 30.0, folder)
        with Clients([plan]) as clients:
            clients.prepare()
            clients.make_ready(0)
            run = clients.run(0)
        records = np.fromfile(run.files[0], record_type())
    assert not records["failure"].any()
    facts = run.facts[0]
    return len(records) / (facts["cpu_ns"] / 1e9), len(records) / ((facts["cpu_ns"] + facts["settle_cpu_ns"]) / 1e9)


def aiohttp(python: str, place: str, concurrent: int, seconds: float, how: str) -> float:
    command = [python, "-c", AIOHTTP, f"http://{place}/v1/chat/completions", str(concurrent), str(seconds), how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    requests, _, cpu_s, _ = json.loads(done.stdout)
    return float(requests / cpu_s)


def main(seconds: float = 2.0, turns: int = 5, python: str = sys.executable) -> int:
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {turns} turns of {seconds:g} s, {EVENTS} events each")
    if subprocess.run([python, "-c", "import aiohttp, uvloop"], capture_output=True, check=False).returncode:
        print(f"{Path(python).name} has no aiohttp or no uvloop: name a Python that has both as the third argument")
        return 1
    missed = False
    with null_server("openai", EVENTS) as place:
        for concurrent in (1, 16):
            while_running, whole, parsing, stamping = [], [], [], []
            for _ in range(turns):
                running, both = ours(place, concurrent, seconds)
                while_running.append(running)
                whole.append(both)
                parsing.append(aiohttp(python, place, concurrent, seconds, "parse"))
                stamping.append(aiohttp(python, place, concurrent, seconds, "stamp"))
            print(
                f"{concurrent} in flight, requests per CPU second: ours {median(while_running):.0f}, with the reading afterwards "
                f"{median(whole):.0f}; aiohttp {median(parsing):.0f}, without reading the JSON {median(stamping):.0f}"
            )
            ratios = [
                median(a / b for a, b in zip(mine, theirs, strict=True))
                for mine, theirs in ((while_running, parsing), (while_running, stamping), (whole, parsing))
            ]
            print(
                f"  ours is {ratios[0]:.2f} x aiohttp while the load runs ({ratios[1]:.2f} x if that reads no JSON), and {ratios[2]:.2f} x "
                f"with the reading afterwards; the target is {TARGET:g} x while it runs"
            )
            missed = missed or ratios[0] < TARGET
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(*(convert(text) for convert, text in zip((float, int, str), sys.argv[1:], strict=False))))
