"""Finds out how many requests per second the client processes themselves can send on this device: they drive null servers.

The null servers are processes of ours on the same host, one for each client process. They are written in Python as well, so the real
ceiling may be higher; a point that is called client-bound by this one may have been the service's own.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.errors import DeviceFailed, ModelInvalid
from shared.request_records import FAILURES
from worker.drivers.registry import fills_of
from worker.interpreter import python_command
from worker.load.arrivals import Shape
from worker.load.clients import Clients
from worker.load.null_server import WIRES
from worker.load.plan import ClientPlan, PhasePlan

DRIVE_S, LEAD_S = 0.7, 0.2
SHARE = 0.6  # above this share of the ceiling, a point is client-bound
HOPELESS = 2.0  # times the ceiling: a rate above it is refused
DELAY_SHARE = 0.05  # as is one whose dispatch delay p99 is above this share of the median latency


def measure_ceiling(plans: Sequence[ClientPlan], wire: str, answer_bytes: int) -> float | None:
    """Return how many requests per second these clients reach against servers that do nothing, or None if the wire has no null server.

    Raises:
        DeviceFailed: A null server does not start, or a request to it fails.
    """
    if wire not in WIRES:
        return None
    weights: dict[str, float] = {}
    fills = fills_of(plans[0].driver)
    for phase in [one for one in plans[0].phases if one.name not in fills] or plans[0].phases:
        weights |= dict(phase.operations)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=plans[0].folder))
        places = [_start(stack, wire, answer_bytes) for _ in plans]
        asked = PhasePlan("null", weights, Shape(), duration_s=DRIVE_S, lead_s=LEAD_S)
        against = [
            replace(plan, address=place, phases=(asked,), folder=folder, secrets={}, settings=_unexpecting(plan.settings))
            for plan, place in zip(plans, places, strict=True)
        ]
        clients = stack.enter_context(Clients(against))
        clients.make_ready(0)
        run = clients.run(0)
        if run.died:
            raise DeviceFailed(f"the ceiling of the clients could not be measured: {next(iter(run.died.values()))}")
        return _rate(list(run.files.values()))


def _unexpecting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without what the recipe expects of the service's answers: a null server knows nothing of it."""
    return {name: value for name, value in settings.items() if not name.startswith("expect_")}


def _start(stack: ExitStack, wire: str, answer_bytes: int) -> str:
    process = stack.enter_context(
        subprocess.Popen(
            python_command("worker.load.null_server", wire, str(answer_bytes)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    if not port:
        raise DeviceFailed(f"the null server of {wire} ended with exit code {process.wait()}")
    return f"127.0.0.1:{port}"


def _rate(files: Sequence[Path]) -> float:
    import numpy as np  # imported here, because the guard must not hold it in memory

    from shared.request_records import record_type

    answered = 0
    for path in files:
        records = np.fromfile(path, record_type())
        failed = records[records["failure"] > 0]
        if len(failed):
            raise DeviceFailed(f"a request to the null server failed ({FAILURES[failed['failure'][0]]}): this is a defect in our code")
        ended = records["scheduled"] + records["delay"].astype(float) + records["last"]
        answered += int(((ended >= 0) & (ended < DRIVE_S * 1e9)).sum())
    return answered / DRIVE_S


def check_rate(rate: float, ceiling: float | None) -> None:
    """Check that these clients can send at the asked rate at all.

    A rate near the ceiling is measured, and marked as client-bound, because the real ceiling may be higher.

    Raises:
        ModelInvalid: It is far above what they reach.
    """
    if ceiling is not None and rate > HOPELESS * ceiling:
        raise ModelInvalid(
            f"load.rate is {rate:.0f} requests/s, and these clients reach {ceiling:.0f} on this device against a server that does nothing; "
            "ask for less, or for more client processes (benchmarks.num_clients) on a device that has cores for them"
        )


def is_client_bound(
    rate: float, ceiling: float | None, dispatch_delay_p99_ms: float | None, latency_p50_ms: float | None
) -> tuple[bool, str]:
    """Return whether the client and not the service may have been the limit, and why."""
    if ceiling is not None and rate > SHARE * ceiling:
        return True, f"{rate:.0f} requests/s are {rate / ceiling:.0%} of what these clients reach on this device without a service"
    if dispatch_delay_p99_ms is not None and latency_p50_ms is not None and dispatch_delay_p99_ms > DELAY_SHARE * latency_p50_ms:
        late = f"1 % of the requests were sent {dispatch_delay_p99_ms:.3g} ms late or more"
        return True, f"{late}, and half of the answers took less than {latency_p50_ms:.3g} ms"
    return False, ""
