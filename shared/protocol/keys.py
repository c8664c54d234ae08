"""Names of the Redis keys. One prefix, so that a shared Redis stays readable and an access rule can name them."""

from __future__ import annotations

from shared.jobs import MAX_TIMEOUT_S

PREFIX = "fleetmark:"
WORKERS = PREFIX + "workers"  # hash: worker id -> Registration as JSON
DEPARTED = PREFIX + "departed"  # hash, the same: workers that left, for a day, so that nobody who looks for work reads them
FORMER = PREFIX + "former"  # sorted set: ids of workers that were forgotten, by when that was, ms
IDENTITIES = PREFIX + "identities"  # hash: UDID -> worker id
DEAD_LETTERS = PREFIX + "dead_letters"  # list, newest first: messages nobody could read, each a `DeadLetter` (JSON)
DEAD_LETTERS_KEPT = 1_000  # by whoever adds one
CLAIM_TTL_S = MAX_TIMEOUT_S + 86_400  # a claim outlives the message that it answers
EPOCH = PREFIX + "epoch"  # the run of Redis that was last seen: gone, or another one, when it lost its memory or an older file was loaded
CONSUMERS = PREFIX + "consumers"  # sorted set: who takes from the results queue, by the time of its last take, ms
TAKEN = PREFIX + "taken:"  # and the name of one: list of what it took and has not recorded
LEADER = PREFIX + "leader"  # the watch that leads, for as long as its lease
MONITOR = PREFIX + "monitor"  # hash: the counters of all sweeps, and when the last one ended

# Followed by an id; the functions below say what each holds.
WORKER = PREFIX + "worker:"
FAULTS = PREFIX + "faults:"
QUARANTINES = PREFIX + "quarantines:"
CLAIM = PREFIX + "claim:"
ENDED = PREFIX + "ended:"
ANSWERS = PREFIX + "answers:"
UNACKED = ("unacked:", "unacked_index:", "unacked_mutex:")  # kombu's books of what a worker has taken, one set a worker


def worker(worker_id: str) -> str:
    """Return the key of a hash with a worker's state.

    It holds status, incarnation, current_job, held, stage, progress, beats, last_seen (ms), registered_at (ms), said (the SHA-1 of its
    registration), clock_offset_ms where its clock was compared with ours, and in quarantine quarantined_until (ms) and quarantine_reason.
    """
    return WORKER + worker_id


def faults(worker_id: str) -> str:
    """Return the key of a sorted set with a device's latest faults: their causes, by Redis' own time in ms."""
    return FAULTS + worker_id


def quarantines(worker_id: str) -> str:
    """Return the key that counts how often the device was in quarantine of late: each time lasts twice as long."""
    return QUARANTINES + worker_id


def claim(job_id: str) -> str:
    """Return the key of a hash `attempt worker incarnation at` (ms): who runs the job now. It lives for `CLAIM_TTL_S`."""
    return CLAIM + job_id


def ended(job_id: str) -> str:
    """Return the key that says that a job has ended, however it did: nobody may claim it, and whoever runs it must stop."""
    return ENDED + job_id


def answers(worker_id: str) -> str:
    """Return the key of a hash `<job_id>/<attempt>` -> `recorded` or `unwanted`: what became of the results a worker sent."""
    return ANSWERS + worker_id


def unacked(worker_id: str) -> list[str]:
    """Return the keys in which kombu books the messages that this worker has taken and not acknowledged."""
    return [name + worker_id for name in UNACKED]
