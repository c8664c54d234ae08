"""Implements the command `info`: builds the body of `/api/v1/info`, and prints it as tables."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.ids import worker_id_of
from worker.agent.info import describe
from worker.hardware import detect
from worker.hardware.identity import known_udid
from worker.settings import WorkerSettings


def describe_this_device(settings: WorkerSettings) -> dict[str, Any]:
    """Return the description that a worker on this device would give. Its id is empty if the device has never registered."""
    udid = known_udid(settings.state_dir)
    return describe(detect(), settings, agent_id=worker_id_of(udid) if udid else "", version=version("fleetmark"))


def show(body: dict[str, Any], console: Console) -> None:
    """Print the answer of `GET /api/v1/info` as two tables. The console must not interpret markup: device names may contain brackets."""
    info = body["system_info"]
    system, cpu, memory = info["system"], info["cpu"], info["memory"]
    facts = Table(show_header=False, box=None)
    facts.add_row("worker", f"{body['agent_id'] or 'not registered yet'} ({body['agent_type']}), version {body['version']}")
    facts.add_row("device", f"{system['device_name']}, {system['os']} ({system['os_version']}), Python {system['python']}")
    facts.add_row("cpu", f"{cpu['model']}: {cpu['cores_physical']} cores, {cpu['cores_logical']} threads, {cpu['architecture']}")
    facts.add_row("features", " ".join(cpu["features"]) or "none known")
    facts.add_row("memory", f"{memory['total_mb'] / 1024:.1f} GB, {memory['available_mb'] / 1024:.1f} GB available")
    for gpu in info["gpus"]:
        facts.add_row("gpu", f"{gpu['name']}, {gpu['memory_total_mb'] / 1024:.1f} GB, compute capability {gpu['compute_capability']}")
    facts.add_row("frameworks", ", ".join(f"{framework['name']} {framework['version']}" for framework in info["frameworks"]) or "none")
    facts.add_row("can start", ", ".join(info["services"].values()) or "no service; a load on a service that runs already is possible")
    facts.add_row("models", f"{len(info['models'])} in the cache")
    console.print(facts)
    offers = Table("capability", "offered", "why not")
    for offer in info["capabilities"]:
        offers.add_row(offer["capability"], Text("yes", style="green") if offer["offered"] else "no", offer["why"])
    console.print(offers)
