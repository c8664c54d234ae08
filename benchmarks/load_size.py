"""Measures how long a large load takes to become figures and files, and how much memory.

    python -m benchmarks.load_size [requests for the figures, default 10 000 000] [requests for the files, default 1 000 000]

- **figures**: the records of the requests, as client processes leave them on the disk, become the figures of the job and its artifact
  `requests.bin`. This is done at the worker.
- **files**: that artifact becomes `requests.jsonl`, `summary.json`, the report and its pictures. This is done at the orchestrator.

Each is done in a fresh process, and the memory is the largest resident size that the kernel has seen of it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from shared.series import Record

REPEATS, CLIENTS = 2, 2
JOB = "campaign-01m81k4kpq4wq6xn8q-job-1"


def make_records(folder: Path, requests: int) -> None:
    """Write what the client processes of each repeat leave: a constant rate, and latencies of a log-normal distribution."""
    import numpy as np

    from shared.request_records import record_type

    each = requests // (REPEATS * CLIENTS)
    draw = np.random.default_rng(1)
    for repeat in range(REPEATS):
        for client in range(CLIENTS):
            with (folder / f"{repeat}-{client}.records").open("wb") as file:
                for start in range(0, each, 500_000):
                    count = min(500_000, each - start)
                    block = np.zeros(count, record_type())
                    block["scheduled"] = (np.arange(start, start + count) * CLIENTS + client) * 10_000
                    block["delay"] = draw.exponential(5_000, count)
                    block["last"] = draw.lognormal(12, 0.5, count)
                    block["first"] = block["last"] * 0.9
                    block["bytes"], block["operation"] = 300, draw.integers(0, 2, count)
                    block["failure"] = np.where(draw.random(count) < 0.001, 3, 0)
                    block.tofile(file)


def derive(folder: Path, requests: int) -> None:
    """Compute the figures, and write the outcome beside the artifact."""
    from shared.workloads import Workload
    from worker.kinds.base import Repeat
    from worker.kinds.load import LoadMeasure

    workload, records = job_of(folder, requests)
    begin = perf_counter()
    derived = LoadMeasure().derive(Workload.model_validate(workload, strict=False), [Repeat(one, 1.8e9) for one in records], [], "")
    took = perf_counter() - begin
    assert derived.outcome is not None
    (folder / "outcome.json").write_text(derived.outcome.model_dump_json())
    print(json.dumps([took, peak_mb()]))


def job_of(folder: Path, requests: int) -> tuple[dict[str, object], list[Record]]:
    each = requests // (REPEATS * CLIENTS)
    spec = {
        "kind": "load",
        "service": {"type": "redis"},
        "client": {"type": "redis", "settings": {}},
        "load": {"pattern": "constant", "rate": 100_000.0},
        "phases": [{"name": "mixed", "operations": {"get": 1.0, "set": 1.0}, "duration_s": each * CLIENTS * 1e-5}],
        "concurrent_clients": 16,
        "num_clients": CLIENTS,
    }
    process = {"gave_up": "", "lost": 0, "opened": 16, "said": ""}
    found: list[Record] = []
    for repeat in range(REPEATS):
        run = {
            "phase": "mixed",
            "began_at": 1.8e9 + 100 * repeat,
            "files": {str(client): str(folder / f"{repeat}-{client}.records") for client in range(CLIENTS)},
            "counts": {str(client): each for client in range(CLIENTS)},
            "processes": {str(client): process for client in range(CLIENTS)},
            "died": {},
        }
        load = {"runs": [run], "operations": ["get", "set"], "ceiling_per_s": 2e5, "prepared": {}, "cut_short": "", "left_behind": ""}
        found.append(Record(facts={"load": load, "requests_per_s": 1e5}))
    return {**spec, "repeats": REPEATS}, found


def report(folder: Path, requests: int) -> None:
    """Write the files of a campaign of one job."""
    from orchestrator.reports.bundle import CampaignBundle, DeviceEntry, EndedJob, JobRecord
    from orchestrator.reports.outputs import write_campaign
    from orchestrator.reports.rows import csv_row
    from shared.figures import Outcome
    from shared.ids import campaign_of
    from shared.jobs import CampaignStatus, JobStatus
    from shared.protocol.messages import Device, Result
    from shared.request_records import NAME
    from shared.workloads import Workload

    campaign = campaign_of(JOB)
    there = folder / "outputs" / campaign / "requests"
    there.mkdir(parents=True)
    (folder / NAME).replace(there / f"{JOB}.bin")
    workload = Workload.model_validate(job_of(folder, requests)[0], strict=False)
    outcome = Outcome.model_validate_json((folder / "outcome.json").read_text())
    now = datetime.now(UTC)
    result = Result(
        job_id=JOB,
        campaign_id=campaign,
        attempt=1,
        worker_id="worker-a",
        incarnation="first",
        capability="service.redis",
        status="complete",
        device=Device(name="device"),
        model_name="redis",
        outcome=outcome,
        started_at=0.0,
        ended_at=1.0,
    )
    row = csv_row(EndedJob(JOB, campaign, JobStatus.COMPLETE, "service.redis", "redis", 1, now, kind="load"), result)
    job = JobRecord(JOB, JobStatus.COMPLETE, "service.redis", workload, 1, row=row, result=result, kind="load", title="redis")
    bundle = CampaignBundle(campaign, "size", CampaignStatus.COMPLETED, now, now, {}, [job], devices={"worker-a": DeviceEntry("device")})
    begin = perf_counter()
    paths = write_campaign(folder / "outputs", bundle)
    took = perf_counter() - begin
    assert (folder / "outputs" / campaign / "requests.jsonl") in paths
    print(json.dumps([took, peak_mb()]))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(for_figures: int = 10_000_000, for_files: int = 1_000_000) -> None:
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for requests, steps in ((for_figures, ("derive",)), (for_files, ("derive", "report"))):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_records(folder, requests)
            for step in steps:
                command = [sys.executable, "-m", "benchmarks.load_size", step, name, str(requests)]
                took, peak = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                what = "figures and requests.bin" if step == "derive" else "requests.jsonl, summary, report and pictures"
                print(f"{requests} requests to {what}: {took:.1f} s, at most {peak:.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] in (["derive"], ["report"]):
        {"derive": derive, "report": report}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(*(int(text) for text in sys.argv[1:]))
