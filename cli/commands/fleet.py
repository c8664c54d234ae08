"""Implements the commands for the fleet: its workers, its queues, and jobs across campaigns."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Host, Json, Limit, Token, connect
from cli.tables import local_time, table, told_apart
from cli.terminal import out, say, show_json
from shared.device_labels import device_labels
from shared.installation import how_to_call
from shared.workers import clock_warning

WORKER_COLUMNS = [
    ("Worker", "worker_id"),
    ("Device", "device_name"),
    ("Status", "status"),
    ("Can", "capabilities"),
    ("Running", "current_job"),
    ("Last seen", "last_seen"),
]
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


def workers(
    capability: Annotated[
        str | None, typer.Option(help="Show only workers with this capability, such as cpu.onnx or gpu.cuda.onnx.")
    ] = None,
    status: Annotated[str | None, typer.Option(help="Show only workers with this status: active, busy, cleanup, faulty or gone.")] = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the devices with their capabilities and their status.

    Examples:

      fleetmark workers
      fleetmark workers --capability gpu.cuda.onnx --json
    """
    with connect(host, token) as client:
        found = list(client.pages("workers", "workers", capability=capability, status=status))
    if as_json:
        show_json(found)
        return
    out.print(table(found, WORKER_COLUMNS))
    labels = device_labels((worker["worker_id"], worker["device_name"]) for worker in found)
    for resting in (worker for worker in found if worker.get("quarantine")):
        rest = resting["quarantine"]
        say(f"{labels[resting['worker_id']]} is given no work until {local_time(rest['until'])}: {rest['reason']}")
    for worker in found:
        if warning := clock_warning(worker.get("clock_offset_s")):
            say(f"{labels[worker['worker_id']]}: {warning}")
    if not found:
        say(f"No worker. On a device:  fleetmark worker start --host {client.host}")


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
    out.print(table(rows, [("Queue", "queue"), ("Waiting", "waiting")]))
    if found.get("dead_letters"):
        say(f"Why nobody could read the dead letters:  {how_to_call('queues --dead')}")


def _dead_letters(limit: int, host: str | None, token: str | None, as_json: bool) -> None:
    with connect(host, token) as client:
        found = client.get("queue/dead-letters", limit=min(limit, 1000))
    if as_json:
        show_json(found["dead_letters"])
        return
    rows = [letter | {"found_at": letter["at"], "message": letter["message"][:200]} for letter in found["dead_letters"]]
    out.print(table(rows, LETTER_COLUMNS))
    if found["total"] > found["count"]:
        say(f"{found['count']} of {found['total']}; --limit shows more")


def jobs(
    campaign: Annotated[str | None, typer.Option(help="Show only jobs of this campaign.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Show only jobs with this status: pending, running, complete, failed or cancelled.")
    ] = None,
    worker: Annotated[str | None, typer.Option(help="Show only jobs that this worker has or had.")] = None,
    since: Annotated[str | None, typer.Option(help="Show only jobs that were created at or after this time (ISO 8601).")] = None,
    limit: Limit = 50,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the jobs of all campaigns or of one campaign.

    Examples:

      fleetmark jobs --status failed
      fleetmark jobs --campaign campaign-01jd9… --json
    """
    with connect(host, token) as client:
        found = list(client.pages("jobs", "jobs", limit=limit, campaign=campaign, status=status, worker=worker, since=since))
    if as_json:
        show_json(found)
        return
    out.print(table(told_apart(found), JOB_COLUMNS))
