"""Defines the names of the Redis keys.

They share one prefix, so that they can be recognised in a Redis that other programs use too, and so that an access rule can name them.
"""

from __future__ import annotations

from shared.jobs import MAX_TIMEOUT_S

PREFIX = "fleetmark:"
WORKERS = PREFIX + "workers"  # hash: worker id -> Registration as JSON
DEPARTED = PREFIX + "departed"  # hash like WORKERS, of workers that have left; kept apart, so that placing jobs does not read them
FORMER = PREFIX + "former"  # sorted set: ids of workers whose data was deleted, by the time of that in ms
IDENTITIES = PREFIX + "identities"  # hash: UDID -> worker id
DEAD_LETTERS = PREFIX + "dead_letters"  # list, newest first: messages that could not be read, each a `DeadLetter` as JSON
DEAD_LETTERS_KEPT = 1_000  # the script that adds a dead letter removes all older ones beyond this number
CLAIM_TTL_S = MAX_TIMEOUT_S + 86_400  # a claim must live longer than the message that it belongs to
EPOCH = PREFIX + "epoch"  # the last seen run id of Redis; missing or different after Redis lost its data or loaded an older file
CONSUMERS = PREFIX + "consumers"  # sorted set: the consumers of the results queue, by the time of their last take in ms
TAKEN = PREFIX + "taken:"  # followed by a consumer's name; list of the messages that it has taken and not yet recorded
LEADER = PREFIX + "leader"  # name of the watch that leads; it expires with the lease
MONITOR = PREFIX + "monitor"  # hash: the counters of all sweeps, and the time when the last sweep ended
HISTOGRAMS = PREFIX + "histograms"  # hash: the histograms of jobs, one field for each bucket and each sum

# These prefixes are followed by an id. The functions below describe the values.
WORKER = PREFIX + "worker:"
FAULTS = PREFIX + "faults:"
QUARANTINES = PREFIX + "quarantines:"
CLAIM = PREFIX + "claim:"
ENDED = PREFIX + "ended:"
ANSWERS = PREFIX + "answers:"
UNACKED = ("unacked:", "unacked_index:", "unacked_mutex:")  # kombu's records of the messages that a worker has taken, per worker


def worker(worker_id: str) -> str:
    """Return the key of the hash that holds a worker's state.

    Its fields are status, incarnation, current_job, held, stage, progress, others, metrics, beats, last_seen (ms), registered_at (ms) and
    said (the SHA-1 of its registration). `others` holds the stages of the jobs that take turns with the current one. clock_offset_ms is
    present if the worker's clock was compared with ours. quarantined_until (ms) and quarantine_reason are present if it was in quarantine.
    unwanted_service is present if a user has stopped a service of this worker that was idle: the id of the last such service.
    """
    return WORKER + worker_id


def faults(worker_id: str) -> str:
    """Return the key of the sorted set of a device's recent faults: their causes, by Redis' own time in ms."""
    return FAULTS + worker_id


def quarantines(worker_id: str) -> str:
    """Return the key that counts the recent quarantines of a device. Each quarantine lasts twice as long as the previous one."""
    return QUARANTINES + worker_id


def claim(job_id: str) -> str:
    """Return the key of the hash that says which worker runs a job now.

    Its fields are attempt, worker, incarnation and at (ms). It expires after `CLAIM_TTL_S`.
    """
    return CLAIM + job_id


def ended(job_id: str) -> str:
    """Return the key that exists when a job has ended, in whatever state. No worker may claim it; a worker that runs it must stop."""
    return ENDED + job_id


def answers(worker_id: str) -> str:
    """Return the key of the hash that tells a worker what happened to its results: `<job_id>/<attempt>` -> `recorded` or `unwanted`."""
    return ANSWERS + worker_id


def unacked(worker_id: str) -> list[str]:
    """Return the keys in which kombu records the messages that this worker has taken and not acknowledged."""
    return [name + worker_id for name in UNACKED]
