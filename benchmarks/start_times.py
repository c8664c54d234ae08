"""Measures how long commands take that only ask the orchestrator: `fleetmark list`, `show`, `jobs`, `workers`, and `--help`.

    python -m benchmarks.start_times

Each command runs as a process, in turns with an interpreter that only imports typer and httpx, which every command needs. A server with
fixed answers stands in for the orchestrator, so that its own time does not count. Compare the ratio: on a busy machine the time grows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median

from tests.unit.cli.scripted_server import scripted_server
from tests.unit.cli.test_commands import CAMPAIGN

ROUNDS = 15
LIMIT_S = 0.3
LIMIT_RATIO = 2.0
BARE = (sys.executable, "-c", "import typer, httpx")
COMMANDS = (("list",), ("show", "campaign-1"), ("jobs",), ("workers",), ("--help",))


def seconds(command: tuple[str, ...], environment: dict[str, str]) -> tuple[float, float]:
    """Return the wall time and the CPU time of a process, from its start to its end.

    Raises:
        SystemExit: the process failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if os.waitstatus_to_exitcode(status) != 0:
        assert process.stderr is not None
        raise SystemExit(f"{' '.join(command)} failed: {process.stderr.read().decode()}")
    return wall, used.ru_utime + used.ru_stime


def main() -> None:
    failed = False
    with scripted_server() as server:
        server.on("GET /api/campaigns", {"count": 1, "campaigns": [CAMPAIGN], "next_cursor": None})
        server.on("GET /api/campaigns/campaign-1", CAMPAIGN | {"jobs": [job | {"options": {}} for job in CAMPAIGN["jobs"]]})
        server.on("GET /api/jobs", {"count": 1, "jobs": CAMPAIGN["jobs"], "next_cursor": None})
        server.on("GET /api/workers", {"count": 0, "workers": []})
        environment = os.environ | {"FLEETMARK_HOST": server.url}
        for command in COMMANDS:
            program = (sys.executable, "-m", "cli.main", *command)
            turns = [(seconds(program, environment), seconds(BARE, environment)) for _ in range(ROUNDS)]
            wall = median(ours[0] for ours, _ in turns)
            cpu, bare = median(ours[1] for ours, _ in turns), median(theirs[1] for _, theirs in turns)
            ratio = median(ours[1] / theirs[1] for ours, theirs in turns)
            failed |= ratio > LIMIT_RATIO
            print(
                f"fleetmark {' '.join(command):<16} {wall:.2f} s (limit {LIMIT_S:g} s on a quiet machine), CPU {cpu:.2f} s, "
                f"{ratio:.2f} times that of importing typer and httpx, {bare:.2f} s (limit {LIMIT_RATIO:g})"
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()
