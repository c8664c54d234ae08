"""Makes the plan of each client process from what a job asks for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from shared.errors import ModelInvalid
from worker.drivers.registry import credentials, fills_of
from worker.load.arrivals import CLOSED_PATTERNS, Shape, seed_text
from worker.load.plan import ClientPlan, PhasePlan
from worker.measured.request import RunRequest


def in_flight(spec: Mapping[str, Any]) -> int:
    """Return how many requests each client process keeps in flight."""
    if spec["load"]["pattern"] == "single_stream":
        return 1
    if spec["load"]["pattern"] == "multi_stream":
        return int(spec["load"]["per_query"])
    return int(spec["concurrent_clients"])


def plans_of(request: RunRequest, driver: str, folder: str) -> list[ClientPlan]:
    """Return what each client process does.

    Raises:
        ModelInvalid: Two settings do not go together.
    """
    spec = request.spec
    settings, load = spec["client"]["settings"], spec["load"]
    point = json.dumps({name: value for name, value in spec.items() if name != "slo"}, sort_keys=True)
    closed = load["pattern"] in CLOSED_PATTERNS
    if not closed and int(settings.get("pipeline") or 1) > 1:
        asked = f"client.settings.pipeline is {settings['pipeline']} and load.pattern is {load['pattern']}"
        raise ModelInvalid(f"{asked}: requests with a schedule are sent one by one; write a pipeline of 1, or a closed loop")
    schedule = seed_text(load["seed"], point, request.repeat)
    # A ramp and a trace say what is sent from the first moment on, so nothing is sent before.
    lead_s = 0.0 if load["pattern"] in ("ramp", "trace") else request.warmup_min_s + load["ramp_up_s"]
    phases, fills, warmed = [], fills_of(driver), False
    for number, phase in enumerate(spec["phases"]):
        if phase["name"] in fills:
            phases.append(PhasePlan(phase["name"], phase["operations"], Shape(), phase["count"], phase["duration_s"]))
            continue
        shape = Shape(
            pattern=load["pattern"],
            rate=load["rate"] or 0.0,
            rate_from=load["rate_from"] or 0.0,
            ramp_s=phase["duration_s"] or 0.0,
            burstiness=load["burstiness"],
            trace_s=tuple(load["trace_s"] or ()),
            seed=f"{schedule}/{number}",
        )
        lead, warmed = 0.0 if warmed else lead_s, True
        phases.append(PhasePlan(phase["name"], phase["operations"], shape, phase["count"], phase["duration_s"], lead))
    return [
        ClientPlan(
            driver=driver,
            address=request.address,
            settings=settings,
            phases=tuple(phases),
            concurrent=in_flight(spec),
            client=client,
            clients=spec["num_clients"],
            seed=seed_text(load["seed"], point, request.repeat, client),
            timeout_s=spec["request_timeout_s"],
            folder=folder,
            secrets=credentials(driver, os.environ),  # noqa: TID251 - keys are in the worker's environment, and nowhere else
        )
        for client in range(spec["num_clients"])
    ]
