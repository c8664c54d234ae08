"""Is the measured process: `python -m worker.hardware_tests hardware.cpu bandwidth,flops,latency 60` prints one line of JSON."""

from __future__ import annotations

import json
import sys


def main(arguments: list[str]) -> None:
    from shared.errors import EngineUnavailable, JobError
    from worker.hardware_tests.run import BROKEN, run_here

    capability, tests, seconds = arguments
    try:
        found = run_here(capability, tuple(tests.split(",")), float(seconds))
    except JobError as error:
        sys.stderr.write(" ".join(error.detail.split()) + "\n")  # the last line is the reason
        sys.exit(BROKEN if isinstance(error, EngineUnavailable) else 1)
    sys.stdout.write(json.dumps({name: readings.as_json() for name, readings in found.items()}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
