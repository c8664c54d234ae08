"""Implements the commands for the fleet: its workers, its queues, and jobs across campaigns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from cli.fitting import Fitting
from cli.options import Cursor, Host, Json, Limit, Token, command_group, connect
from cli.tables import local_time, next_page, state, table, told_apart, work_name
from cli.terminal import counted, out, say, show_json
from shared.clock import clock_warning
from shared.device_labels import device_labels
from shared.hosts import is_loopback
from shared.installation import how_to_call

WORKER_COLUMNS = [
    ("Worker", "worker_id"),
    ("Device", "device_name"),
    ("Status", "status"),
    ("Can", "capabilities"),
    ("Running", "current_job"),
    ("Last seen", "last_seen"),
]
SERVICES = "service."  # the capabilities of services begin so
MAX_SERVICES = 2  # so many services of a worker have their names in the list
SHOWN_FIGURES = {"peak_gb_per_s": "GB/s", "fp32_tflops": "TFLOP/s fp32"}
JOB_COLUMNS = [
    ("Job", "job_id"),
    ("Model", "model"),
    ("Compute unit", "compute_unit"),
    ("Status", "status"),
    ("Attempt", "attempt"),
    ("Device", "device"),
    ("Worker", "worker_id"),
    ("Why", "why"),
]


workers_app = command_group()
WorkerIds = Annotated[list[str], typer.Argument(metavar="ID…", help="The ids of workers, as `fleetmark workers` shows them.")]


@workers_app.callback()
def workers_or_command(
    context: typer.Context,
    capability: Annotated[
        str | None, typer.Option(help="Show only workers with this capability, such as cpu.onnx or gpu.cuda.onnx.")
    ] = None,
    status: Annotated[str | None, typer.Option(help="Show only workers with this status: active, busy, cleanup, faulty or gone.")] = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the devices with their capabilities and their status. `remove` and `reset` change them; `compatible` says what they can run.

    Examples:

      fleetmark workers
      fleetmark workers --capability gpu.cuda.onnx --json
    """
    if context.invoked_subcommand is None:
        workers(capability, status, host, token, as_json)


def workers(
    capability: str | None = None, status: str | None = None, host: str | None = None, token: str | None = None, as_json: bool = False
) -> None:
    with connect(host, token) as client:
        found = list(client.pages("workers", "workers", capability=capability, status=status))
    if as_json:
        show_json(found)
        return
    said = {worker["worker_id"]: measured_text(worker) for worker in found}
    columns = [*WORKER_COLUMNS, ("Measured", "measured")] if any(said.values()) else WORKER_COLUMNS
    shown = [
        worker | {"capabilities": capabilities_text(worker["capabilities"]), "measured": said[worker["worker_id"]]} for worker in found
    ]
    out.print(Fitting(table(shown, columns)))
    labels = device_labels((worker["worker_id"], worker["device_name"]) for worker in found)
    for resting in (worker for worker in found if worker.get("quarantine")):
        rest = resting["quarantine"]
        say(f"{labels[resting['worker_id']]} is given no work until {local_time(rest['until'])}: {rest['reason']}")
    for worker in found:
        if warning := clock_warning(worker.get("clock_offset_s")):
            say(f"{labels[worker['worker_id']]}: {warning}")
    if not found:
        say(f"No worker. {_how_to_start_one(client.host)}")


def capabilities_text(capabilities: Sequence[str]) -> str:
    """Return what a worker can do. Many services are only counted: `cpu.onnx, hardware.cpu, 9 services`."""
    services = [name for name in capabilities if name.startswith(SERVICES)]
    others = [name for name in capabilities if not name.startswith(SERVICES)]
    return ", ".join([*others, *(services if len(services) <= MAX_SERVICES else [counted(len(services), "service")])])


def _how_to_start_one(host: str) -> str:
    if not is_loopback(urlsplit(host).hostname or ""):
        return f"On a device:  {how_to_call('worker start')} --host {host}"
    return (
        f"On this machine:  {how_to_call('worker start')} --host {host}\n"
        "For other devices, start the orchestrator with `--bind 0.0.0.0` and a token, and give its address in the network to `--host`."
    )


def measured_text(worker: Mapping[str, Any]) -> str | None:
    """Return what was measured last of a worker's devices: `cpu 24.1 GB/s, 0.15 TFLOP/s fp32`. None if it has told nothing."""
    metrics = worker.get("metrics")
    listed = metrics.get("measured") if isinstance(metrics, Mapping) else None
    said = []
    for device in listed if isinstance(listed, list) else []:
        if isinstance(device, Mapping):  # a worker may send anything
            shown = [f"{device[name]:.3g} {unit}" for name, unit in SHOWN_FIGURES.items() if isinstance(device.get(name), int | float)]
            if shown:
                said.append(f"{str(device.get('capability', '')).removeprefix('hardware.')} {', '.join(shown)}".strip())
    return "; ".join(said) or None


@workers_app.command()
def remove(worker_ids: WorkerIds, host: Host = None, token: Token = None, as_json: Json = False) -> None:
    """Remove workers, such as a device that does not exist any more. Their jobs go to other workers.

    A worker process that still runs registers again. To keep it out, stop it, or revoke its token first.

    Example:

      fleetmark workers remove worker-01jd9…
    """
    with connect(host, token) as client:
        _show_states([client.delete(f"workers/{worker_id}") for worker_id in worker_ids], as_json)


@workers_app.command()
def reset(worker_ids: WorkerIds, host: Host = None, token: Token = None, as_json: Json = False) -> None:
    """Make workers active again and end their quarantine, for example after a faulty device was mended.

    Example:

      fleetmark workers reset worker-01jd9…
    """
    with connect(host, token) as client:
        _show_states([client.put(f"workers/{worker_id}/reset") for worker_id in worker_ids], as_json)


def _show_states(changed: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show_json(changed)
        return
    for worker in changed:
        out.print(f"{worker['worker_id']}:", state(worker["status"]))


LETTER_COLUMNS = [("Found", "found_at"), ("By", "by"), ("Queue", "queue"), ("Reason", "reason"), ("Message", "message")]


def queues(
    dead: Annotated[
        bool, typer.Option("--dead", help="Show the messages that nobody could read instead, newest first, with the reason.")
    ] = False,
    limit: Limit = 20,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show how many messages wait in each queue. There is one queue per capability, one per worker, and one for results.

    Examples:

      fleetmark queues
      fleetmark queues --dead --json
    """
    if dead:
        _dead_letters(limit, host, token, as_json)
        return
    with connect(host, token) as client:
        found = client.get("queue/status")
    if as_json:
        show_json(found)
        return
    rows = [{"queue": label, "waiting": count} for label, count in found["capability_queues"].items()]
    rows += [
        {"queue": f"only {entry['device_name']} ({name})", "waiting": entry["queue_size"]} for name, entry in found["worker_queues"].items()
    ]
    rows.append({"queue": "results", "waiting": found["results_queue_size"]})
    if "dead_letters" in found:
        rows.append({"queue": "dead letters", "waiting": found["dead_letters"]})
    out.print(Fitting(table(rows, [("Queue", "queue"), ("Waiting", "waiting")])))
    if found.get("dead_letters"):
        say(f"Why nobody could read the dead letters:  {how_to_call('queues --dead')}")


def _dead_letters(limit: int, host: str | None, token: str | None, as_json: bool) -> None:
    with connect(host, token) as client:
        found = client.get("queue/dead-letters", limit=min(limit, 1000))
    if as_json:
        show_json(found["dead_letters"])
        return
    rows = [letter | {"found_at": letter["at"], "message": letter["message"][:200]} for letter in found["dead_letters"]]
    out.print(Fitting(table(rows, LETTER_COLUMNS)))
    if found["total"] > found["count"]:
        say(f"{found['count']} of {found['total']}; --limit shows more")


def _figure(figure: Mapping[str, Any] | None) -> str | None:
    """Return the figure that jobs are sorted by, with its interval if it has one."""
    if figure is None:
        return None
    ends = f" [{figure['low']:.4g}, {figure['high']:.4g}]" if figure["low"] is not None else ""
    return f"{figure['value']:.4g} {figure['unit']}{ends}"


def jobs(
    campaign: Annotated[str | None, typer.Option(help="Show only jobs of this campaign.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Show only jobs with this status: pending, running, complete, failed or cancelled.")
    ] = None,
    worker: Annotated[str | None, typer.Option(help="Show only jobs that this worker has or had.")] = None,
    since: Annotated[str | None, typer.Option(help="Show only jobs that were created at or after this time (ISO 8601).")] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="Show the jobs that have this figure, the best first, such as inference_ms.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the jobs of all campaigns, the newest first, or those of one campaign in the order of their numbers.

    Examples:

      fleetmark jobs --status failed
      fleetmark jobs --campaign campaign-01jd9… --sort inference_ms
      fleetmark jobs --campaign campaign-01jd9… --json
    """
    with connect(host, token) as client:
        wanted = {"campaign": campaign, "status": status, "worker": worker, "since": since, "sort": sort}
        found = client.listed("jobs", "jobs", limit, **wanted, cursor=cursor)
    if as_json:
        show_json(found.items)
    else:
        rows = [
            job | {"model": work_name(job["model"], job.get("options"), job.get("parameters")), "figure": _figure(job.get("figure"))}
            for job in told_apart(found.items)
        ]
        out.print(Fitting(table(rows, JOB_COLUMNS if sort is None else [*JOB_COLUMNS, (sort, "figure")])))
    given = {**wanted, "limit": limit}
    if more := next_page(how_to_call("jobs"), found, given):
        say(more)
