"""Names of the Redis keys. One prefix, so that a shared Redis stays readable and an access rule can name them."""

from __future__ import annotations

from shared.jobs import MAX_TIMEOUT_S

PREFIX = "fleetmark:"
WORKERS = PREFIX + "workers"  # hash: worker id -> Registration as JSON
IDENTITIES = PREFIX + "identities"  # hash: UDID -> worker id
DEAD_LETTERS = PREFIX + "dead_letters"  # list, newest first: messages nobody could read, each a `DeadLetter` (JSON)
DEAD_LETTERS_KEPT = 1_000  # by whoever adds one
CLAIM_TTL_S = MAX_TIMEOUT_S + 86_400  # a claim outlives the message that it answers
EPOCH = PREFIX + "epoch"  # the run of Redis that was last seen: gone, or another one, when it lost its memory or an older file was loaded
CONSUMERS = PREFIX + "consumers"  # sorted set: who takes from the results queue, by the time of its last take, ms
TAKEN = PREFIX + "taken:"  # and the name of one: list of what it took and has not recorded


def worker(worker_id: str) -> str:
    """Hash of a worker's state.

    status, incarnation, current_job, held, stage, progress, beats, last_seen (ms), registered_at (ms), and for one in
    quarantine quarantined_until (ms) and quarantine_reason.
    """
    return f"{PREFIX}worker:{worker_id}"


def faults(worker_id: str) -> str:
    """Sorted set of a device's latest faults: cause by Redis' own time, ms."""
    return f"{PREFIX}faults:{worker_id}"


def quarantines(worker_id: str) -> str:
    """How often the device was in quarantine of late: each time lasts twice as long."""
    return f"{PREFIX}quarantines:{worker_id}"


def claim(job_id: str) -> str:
    """Hash `attempt worker incarnation at` (ms): who runs the job now. Lives for `CLAIM_TTL_S`."""
    return f"{PREFIX}claim:{job_id}"


def cancelled(job_id: str) -> str:
    """Tombstone of a job that has ended, however: nobody may claim it, and whoever runs it must stop."""
    return f"{PREFIX}cancelled:{job_id}"


def answers(worker_id: str) -> str:
    """Hash `<job_id>/<attempt>` -> `recorded` or `unwanted`: what became of the results a worker sent."""
    return f"{PREFIX}answers:{worker_id}"
