"""Tests `fleetmark compare` on real campaigns: equal ones must raise no alarm (A/A), and 10 % more work must be found (A/B).

    python -m benchmarks.regression_gate [--pairs 20] [--repeats 6] [--inferences 30]

It starts Redis, an orchestrator and a worker. Each round measures three campaigns of one job, in an order that rotates: a chain of 40 equal
matrix products (A), the same chain (A again), and one of 44 (B). `fleetmark compare A AGAIN` and `fleetmark compare A B` then run as a CI
job would run them, with `--allow-different model` for B, and their exit codes are counted.

The exit code is 1 if an equal pair fails, or if B is found in fewer than 95 % of the pairs. On a busy machine the noise of the jobs makes
most pairs INCONCLUSIVE, which is no alarm, but B is then not found either.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from benchmarks.job_overhead import system
from benchmarks.same_or_slower import chain

PRODUCTS = {"A": 40, "A again": 40, "B": 44}
EXIT_CODES = {0: "PASS", 1: "FAIL", 4: "INCONCLUSIVE"}
FOUND = 0.95
REST_S = 3.0  # drawing a report and comparing are other work, and what ran just before a measurement makes it noisy


def measured(client: httpx.Client, model: Path, repeats: int, inferences: int) -> str:
    """Run a campaign of one job, and return its id when its report is written and the machine has rested."""
    recipe = {
        "name": "regression gate",
        "model": model.as_uri(),
        "on": ["cpu.onnx"],
        "inferences": inferences,
        "repeats": repeats,
        "warmup": {"min_calls": 5, "min_s": 0.2},
        "options": {"threads": 1},
    }
    answer = client.post("/api/campaigns", json=recipe)
    if answer.is_error:
        raise SystemExit(f"the orchestrator refused the recipe: {answer.text}")
    campaign: str = answer.json()["campaign_id"]
    while client.get(f"/api/campaigns/{campaign}", params={"jobs": "false"}).json()["reported_at"] is None:
        time.sleep(0.25)
    time.sleep(REST_S)
    return campaign


def compared(host: str, base: str, new: str, *more: str) -> tuple[str, dict[str, object]]:
    """Return the verdict by the exit code of `fleetmark compare`, and its only pair."""
    command = [sys.executable, "-m", "cli.main", "compare", base, new, "--host", host, "--json", *more]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode not in EXIT_CODES:
        raise SystemExit(f"fleetmark compare ended with {ended.returncode}: {ended.stderr}")
    found = json.loads(ended.stdout)
    verdict = EXIT_CODES[ended.returncode]
    assert found["verdict"] == verdict, "the exit code says what the answer says"
    (pair,) = found["pairs"]
    return verdict, pair


def line(what: str, verdicts: list[str], effects: list[float]) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(verdicts).most_common())
    ordered = sorted(effects)
    spread = f"; effect {ordered[len(ordered) // 2]:+.1%} ({ordered[0]:+.1%} to {ordered[-1]:+.1%})" if ordered else ""
    return f"{what}: {counts} of {len(verdicts)}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20, help="comparisons of each kind")
    parser.add_argument("--repeats", type=int, default=6, help="fresh processes in a campaign; at least 4")
    parser.add_argument("--inferences", type=int, default=30, help="inferences in each repeat")
    given = parser.parse_args()
    verdicts: dict[str, list[str]] = {"A again": [], "B": []}
    effects: dict[str, list[float]] = {"A again": [], "B": []}
    reasons: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, system(Path(name)) as client:
        models = {kind: chain(Path(name) / f"{kind.replace(' ', '-')}.onnx", products) for kind, products in PRODUCTS.items()}
        measured(client, models["A"], 1, 1)  # not counted: the guard imports its modules now
        order = list(PRODUCTS)
        for _ in range(given.pairs):
            campaigns = {kind: measured(client, models[kind], given.repeats, given.inferences) for kind in order}
            for kind, found in verdicts.items():
                allowed = ("--allow-different", "model") if kind == "B" else ()
                verdict, pair = compared(str(client.base_url), campaigns["A"], campaigns[kind], *allowed)
                time.sleep(REST_S)
                found.append(verdict)
                if isinstance(pair["effect"], float):
                    effects[kind].append(pair["effect"])
                if verdict == "INCONCLUSIVE":
                    reasons[str(pair["reason"])[:60]] += 1
            order = [*order[1:], order[0]]
    print(f"load of this machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    print(line("equal campaigns (A/A)", verdicts["A again"], effects["A again"]))
    print(line("10 % more work (A/B)", verdicts["B"], effects["B"]))
    for reason, count in reasons.most_common(5):
        print(f"  INCONCLUSIVE {count} ×: {reason}…")
    sys.exit(1 if "FAIL" in verdicts["A again"] or verdicts["B"].count("FAIL") < FOUND * given.pairs else 0)


if __name__ == "__main__":
    main()
