"""Asks one question in a short-lived process, so that a library's memory, threads and crashes do not affect the worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from importlib.metadata import packages_distributions, version
from typing import Any

from worker.hardware.steering import NO_TELEMETRY
from worker.interpreter import python_command

# The first use of CUDA may compile kernels and load a gigabyte of libraries from a slow SD card.
TIMEOUT_S = 180


def answer_of(module: str, *arguments: str, what: str, library: str) -> dict[str, Any]:
    """Run `python -m module …`, which prints one line of JSON, and return the answer. If none comes, its key `error` says why.

    Args:
        what: What the process tries out, for the message of a failure.
        library: The library that it uses, whose version is named if the process crashes.
    """
    try:
        environment = dict(os.environ) | NO_TELEMETRY  # noqa: TID251 - passed on unchanged
        child = subprocess.run(
            python_command(module, *arguments),
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"{what} did not answer within {TIMEOUT_S} s"}
    if child.returncode != 0:
        return {"error": f"the probe of {what} {_how_it_ended(child.returncode, library)}: {_last_line(child.stderr)}"}
    answer: dict[str, Any] = json.loads(child.stdout.strip().splitlines()[-1])
    return answer


def _how_it_ended(returncode: int, library: str) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else f"signal {-returncode}"
    distributions = packages_distributions().get(library, [])
    return " ".join(["was killed by", name, *(f"in {one} {version(one)}" for one in distributions[:1])])


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
