"""Checks what must be true after a campaign has ended, in the database, the files, Redis and the list of processes."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import psycopg
from psycopg.rows import dict_row

from shared.protocol import keys
from shared.protocol.letters import DeadLetter
from tests.chaos.client import TERMINAL, Client
from tests.chaos.system import System

Row = dict[str, Any]

# The Redis keys that may remain after a campaign, each with its reason. Any other key is a fault.
MAY_STAY = {
    keys.WORKERS: "the registry",
    keys.IDENTITIES: "the registry",
    keys.DEPARTED: "the registry: workers that left, for a day",
    keys.FORMER: "the registry: ids of workers that were forgotten",
    keys.EPOCH: "tells a Redis that lost its memory",
    keys.WORKER: "the registry: the state of a device",
    keys.FAULTS: "what a device did lately, should it flap",
    keys.ENDED: "the tombstone of an ended job, for as long as a message could name it",
    keys.PREFIX
    + "answers:": "the second answer to a result that came twice, until its worker looks again; the spools say if one is missing",
    keys.PREFIX + "leader": "of the watch, for seconds",
    keys.PREFIX + "monitor": "the counters of the watch",
    keys.PREFIX + "consumers": "when each consumer last took a batch",
    keys.HISTOGRAMS: "the durations and the waits of jobs, for Prometheus",
    "_kombu.binding": "Celery's control exchange",
}
# This happens with signed reports: Redis lost the start of an attempt, another device got the same attempt, and the report of the first
# device is refused.
IN_GOOD_FAITH = "which is an attempt of"
EXPIRE = (keys.PREFIX + "answers:", keys.ENDED, keys.FAULTS, keys.PREFIX + "leader")


@dataclass(frozen=True)
class Books:
    """Holds the rows of a campaign in the database."""

    campaign: Row
    jobs: list[Row]
    results: dict[str, list[Row]]  # the results of each job
    events: dict[str, list[Row]]  # the events of each job, in the order in which they were stored


def read_books(system: System, campaign_id: str) -> Books:
    with psycopg.connect(system.database_url.replace("+psycopg", ""), row_factory=dict_row) as connection:

        def rows(query: str) -> list[Row]:
            return connection.execute(query, {"id": campaign_id}).fetchall()

        [campaign] = rows("SELECT * FROM campaigns WHERE id = %(id)s")
        jobs = rows("SELECT * FROM jobs WHERE campaign_id = %(id)s ORDER BY number")
        results: dict[str, list[Row]] = {job["id"]: [] for job in jobs}
        for row in rows("SELECT * FROM results WHERE campaign_id = %(id)s"):
            results.setdefault(row["job_id"], []).append(row)
        events: dict[str, list[Row]] = {job["id"]: [] for job in jobs}
        for row in rows("SELECT events.* FROM events JOIN jobs ON jobs.id = job_id WHERE campaign_id = %(id)s ORDER BY events.id"):
            events[row["job_id"]].append(row)
    return Books(campaign, jobs, results, events)


def audit(system: System, client: Client, campaign_id: str) -> list[str]:
    """Return a list of everything that is wrong. It is empty if there is no fault."""
    books = read_books(system, campaign_id)
    ids = {worker: _worker_id(system, worker) for worker in system.parts if worker.startswith("worker")}
    return [
        *_rows(books, set(ids.values())),
        *_counters(books, client),
        *_table(system, books, client),
        *_files(system, books),
        *_redis(system),
        *_spools(system),
    ]


def processes_left(system: System) -> list[str]:
    """Return the processes that remain after everything was stopped. No guard and no runner may remain."""
    return [f"process {process.pid} is left: {' '.join(process.cmdline())[:200]}" for process in system.family()]


def _worker_id(system: System, worker: str) -> str:
    from shared.ids import worker_id_of
    from worker.hardware.identity import known_udid

    return worker_id_of(known_udid(system.state(worker)))


def _rows(books: Books, worker_ids: set[str]) -> Iterator[str]:
    """Check that every job has ended exactly once, with one result or with one failure that gives a reason."""
    if [job["number"] for job in books.jobs] != list(range(1, books.campaign["total_jobs"] + 1)):
        yield f"the jobs are not numbered 1 to {books.campaign['total_jobs']}"
    for job in books.jobs:
        name, status, results = job["id"], job["status"], books.results[job["id"]]
        if status not in TERMINAL:
            yield f"{name} is {status}"
            continue
        if job["ended_at"] is None:
            yield f"{name} has ended at no time"
        ends = [event for event in books.events[name] if event["kind"] in TERMINAL]
        if [event["kind"] for event in ends] != [status]:
            yield f"{name} is {status}, and its history says {[event['kind'] for event in books.events[name]]}"
        if status == "complete" and (len(results) != 1 or job["error"]):
            yield f"{name} is complete with {len(results)} results and the error {job['error']!r}"
        if status != "complete" and not (job["error"] and job["error_kind"]):
            yield f"{name} is {status} without a reason"
        for row in results:
            result = row["result"]
            if result["status"] != status or not 1 <= row["attempt"] <= job["attempt"]:
                yield f"{name} is {status} at attempt {job['attempt']}; its result is {result['status']} of attempt {row['attempt']}"
            if not row["worker_id"] == result["worker_id"] == job["worker_id"] or row["worker_id"] not in worker_ids:
                yield f"{name} was run by {row['worker_id']}, {result['worker_id']} or {job['worker_id']}"
            if status == "complete" and result["summary"]["inference"]["n"] != job["workload"].get("inferences", 10):
                yield f"{name} has {result['summary']['inference']['n']} inferences, not {job['workload'].get('inferences', 10)}"


def _counters(books: Books, client: Client) -> Iterator[str]:
    counted = Counter(job["status"] for job in books.jobs)
    kept = Counter({status: books.campaign[f"{status}_jobs"] for status in (*TERMINAL, "pending", "running")})
    if +kept != counted:
        yield f"the campaign counts {dict(+kept)}, its rows are {dict(counted)}"
    if books.campaign["status"] != "completed" or books.campaign["reported_at"] is None:
        yield f"the campaign is {books.campaign['status']}, its files were written at {books.campaign['reported_at']}"
    if +Counter(client.get(f"/api/campaigns/{books.campaign['id']}", jobs="false")["job_breakdown"]) != counted:
        yield "the API says something else than the rows"


def _table(system: System, books: Books, client: Client) -> Iterator[str]:
    """Check that each of the three copies of the CSV (run folder, outputs folder, API) has one row for each job."""
    name = books.campaign["id"]
    flat = sorted(system.outputs.glob(f"{name}_*_results.csv"))
    # A retry reopens a campaign that had ended. The campaign then has one CSV for each time that it ended. The time is in the file name,
    # and the last file counts.
    retries = sum(job["retry_of"] is not None for job in books.jobs)
    if not 1 <= len(flat) <= 1 + retries:
        yield f"there are {len(flat)} CSV files of the campaign in {system.outputs}, after {retries} retries"
        return
    content, inner = flat[-1].read_bytes(), system.outputs / name / "results.csv"
    if not inner.is_file() or content != inner.read_bytes():
        yield f"{flat[-1].name} differs from results.csv in the campaign's folder"
    if content != client.content(f"/api/campaigns/{name}/results"):
        yield f"{flat[-1].name} differs from what the API gives"
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    if [row["JobId"] for row in rows] != [job["id"] for job in books.jobs]:
        yield f"the CSV has {len(rows)} rows, of {len({row['JobId'] for row in rows})} jobs, not each of {len(books.jobs)} once"
    for row, job in zip(rows, books.jobs, strict=False):
        if row["Status"].lower() != job["status"] or (row["Error"] or None) != job["error"]:
            yield f"the CSV says {row['Status']} {row['Error']!r} of {job['id']}, which is {job['status']} {job['error']!r}"


def _files(system: System, books: Books) -> Iterator[str]:
    folder = system.outputs / books.campaign["id"]
    for job in books.jobs:
        name = job["id"]
        if job["status"] == "complete":
            yield from _samples(folder / "samples" / f"{name}.npz", job["workload"].get("inferences", 10))
        for row in books.results[name]:
            log = folder / "logs" / f"{name}.log"
            lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
            if row["attempt"] not in {line["attempt"] for line in lines}:
                yield f"{log} has no line of attempt {row['attempt']}"
    run = folder / "run.json"
    told = json.loads(run.read_text())["jobs"] if run.is_file() else []
    if [job["job_id"] for job in told] != [job["id"] for job in books.jobs]:
        yield f"{run} has {len(told)} jobs"
    yield from (f"{path} is left over" for path in system.outputs.rglob("*") if path.name.endswith(".part"))
    yield from (f"{path} was uploaded and is left over" for path in (folder / ".uploads").glob("*"))


def _samples(path: Path, inferences: int) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is missing"
        return
    with np.load(path, allow_pickle=False) as arrays:
        found = len(arrays["repeat_0_inference_ns"])
    if found != inferences:
        yield f"{path} has {found} samples, not {inferences}"


def _redis(system: System) -> Iterator[str]:
    """Check that no queue holds a message, and that there are no unacknowledged messages, claims or dead letters."""
    for key in cast("list[str]", system.redis.keys("*")):
        if key == keys.DEAD_LETTERS:
            letters = [DeadLetter.read(text) for text in cast("list[str]", system.redis.lrange(key, 0, -1))]
            yield from (f"a dead letter: {letter.reason}" for letter in letters if not (system.locks and IN_GOOD_FAITH in letter.reason))
        elif not key.startswith(tuple(MAY_STAY)):
            yield f"Redis still has {key} ({system.redis.type(key)!r})"
        elif key.startswith(EXPIRE) and system.redis.ttl(key) < 0:
            yield f"{key} has no time to live"


def _spools(system: System) -> Iterator[str]:
    for worker in system.workers:
        for path in (system.state(worker.name) / "spool").glob("*"):
            yield f"{path} is still in the spool"
