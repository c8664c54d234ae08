"""CSV of 100 000 results: seconds, and whether memory grows with the rows.

    python -m benchmarks.csv_stream

Two ways: `lines`, as the API streams them (each line was made when its result was recorded), and `rows`, made from the stored
JSON on the way. Each runs in a process of its own, because a peak never goes down, and reads text by text, never all at once.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime

from orchestrator.reports.rows import EndedJob, csv_row
from orchestrator.reports.tables import csv_line, stream_csv, stream_csv_lines
from shared.jobs import JobStatus
from shared.measurements import Noise, RawRepeat
from shared.protocol.messages import Device, Result
from shared.stats import summarise

CAMPAIGN = "campaign-0123456789abcdefgh"
LIMIT_S = 5.0  # for 100 000 rows
SIZES = (10_000, 100_000)


def _result() -> Result:
    raw = [
        RawRepeat(index, 80_123_457, [5_000_000] * 10, [5_000_017 + 7919 * i for i in range(200)], cpu_percent=97.3) for index in range(5)
    ]
    return Result(
        job_id=f"{CAMPAIGN}-job-1",
        attempt=1,
        worker_id="worker-0123456789ab",
        incarnation="x",
        campaign_id=CAMPAIGN,
        capability="cpu.onnx",
        status="complete",
        device=Device(name="raspberry-pi-5-lab", soc="BCM2712", ram_gb=7.87, os="Linux", labels={"price_per_hour": "0.05"}),
        model_name="squeezenet.onnx",
        model_size=4_956_208,
        summary=summarise(raw),
        noise=Noise(grade="quiet"),
        started_at=0.0,
        ended_at=12.345,
    )


def measure(way: str, count: int) -> dict[str, float]:
    """Stream `count` rows to nowhere; seconds, MB of CSV and the peak resident MB of this process."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    row = csv_row(EndedJob(f"{CAMPAIGN}-job-1", CAMPAIGN, JobStatus.COMPLETE, "cpu.onnx", "squeezenet.onnx", 1, now), _result())
    line, text = csv_line(row), json.dumps(row)
    begin = time.perf_counter()
    made = stream_csv_lines(str(line) for _ in range(count)) if way == "lines" else stream_csv(json.loads(text) for _ in range(count))
    size = sum(map(len, made))
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"rows": count, "seconds": seconds, "csv_mb": size / 2**20, "peak_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--here", nargs=2, metavar=("WAY", "ROWS"), help="measure one in this process, and print JSON")
    here = parser.parse_args().here
    if here:
        print(json.dumps(measure(here[0], int(here[1]))))
        return
    for way in ("lines", "rows"):
        small, large = (_apart(way, count) for count in SIZES)
        for one in (small, large):
            said = f"{one['rows']:>7} rows {one['seconds']:6.2f} s, {one['csv_mb']:5.1f} MB of CSV, peak {one['peak_mb']:.1f} MB resident"
            print(f"{way}: {said}")
        ratio, growth = large["seconds"] / LIMIT_S, large["peak_mb"] / small["peak_mb"]
        print(f"{way}: {ratio:.2f} of the {LIMIT_S:.0f} s allowed; the peak grew {growth:.3f}×")


def _apart(way: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.csv_stream", "--here", way, str(count)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


if __name__ == "__main__":
    main()
