"""Compares timings through the supervisor with those of a bare script, and for reference the script with itself.

    python -m benchmarks.system_vs_bare [--pairs 20] [--inferences 200] [--network squeezenet]

Each round runs three fresh processes in rotating order: the script (A), the same script again (B), and one job of one repeat through
`Supervisor.run` (S). B / A shows how much this machine varies between two identical runs. Compare S / A with it. All three have the default
warm-up of a workload: ten calls and one second.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cli import zoo
from shared.clock import SystemClock
from shared.ids import job_id, new_campaign_id
from shared.inputs import ModelRef
from shared.protocol.messages import Assignment
from shared.stats import describe
from shared.workloads import inference_workload
from worker.models import ModelStore
from worker.supervisor import Supervisor

SCRIPT = """
import sys, time
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
feeds = {given.name: np.random.default_rng(0).random(given.shape).astype(np.float32)}
begin, calls = time.perf_counter(), 0
while calls < 10 or time.perf_counter() - begin < 1.0:
    session.run(None, feeds)
    calls += 1
taken = []
for _ in range(int(sys.argv[2])):
    before = time.perf_counter_ns()
    session.run(None, feeds)
    taken.append(time.perf_counter_ns() - before)
print(np.median(taken) / 1e6)
"""


def bare(model: Path, inferences: int) -> float:
    command = [sys.executable, "-c", SCRIPT, str(model), str(inferences)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def system(supervisor: Supervisor, model: Path, inferences: int) -> float:
    campaign = new_campaign_id(datetime.now(UTC))
    work = inference_workload(model=ModelRef(source=model.as_uri(), name=model.name), inferences=inferences, repeats=1)
    assignment = Assignment(job_id=job_id(campaign, 1), campaign_id=campaign, attempt=1, capability="cpu.onnx", workload=work)
    outcome = supervisor.run(assignment, lambda _stage, _progress: None)
    if outcome.summary is None:
        raise SystemExit(f"the job ended as {outcome.status}: {outcome.error}")
    return outcome.summary.inference.median


def report(name: str, ratios: list[float]) -> None:
    result = describe(ratios)
    interval = result.median_ci_within
    shown = f"95 % interval {interval.low:.3f} to {interval.high:.3f}" if interval else "no interval: fewer than 6 pairs"
    print(f"{name}: median {result.median:.3f}, {shown}, single pairs {result.min:.3f} to {result.max:.3f} ({result.n} pairs)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--inferences", type=int, default=200)
    parser.add_argument("--network", default="squeezenet", choices=zoo.NAMES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = zoo.make(arguments.network, folder, lambda _text: None)
        models = ModelStore(folder, host=None, token=None, max_bytes=2**33)
        supervisor = Supervisor(cache_dir=folder, models=models, clock=SystemClock())
        supervisor.start()
        rounds: list[dict[str, float]] = []
        order = ["A", "B", "S"]
        try:
            for _ in range(arguments.pairs):
                measured = {}
                for which in order:
                    run_system = which == "S"
                    measured[which] = system(supervisor, model, arguments.inferences) if run_system else bare(model, arguments.inferences)
                rounds.append(measured)
                order = [*order[1:], order[0]]
        finally:
            supervisor.close()
        report("script / itself (A/A)", [measured["B"] / measured["A"] for measured in rounds])
        report("system / script", [measured["S"] / measured["A"] for measured in rounds])
        medians = {which: float(np.median([measured[which] for measured in rounds])) for which in order}
        print(f"median of medians, ms: script {medians['A']:.3f}, script again {medians['B']:.3f}, system {medians['S']:.3f}")


if __name__ == "__main__":
    main()
