"""Reads and writes what Redis knows about single jobs: tombstones (a job has ended), claims, and answers to workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import cast

from orchestrator.registry.link import Link
from shared.protocol import keys, scripts
from shared.protocol.messages import answer_field

# A tombstone lives longer than most messages need. A copy of a message that waits behind long jobs may arrive even later. Then the watch
# sees a worker at an ended job and writes the tombstone again. That wastes a little work, but Redis does not have to keep weeks of jobs.
TOMBSTONE_S = 6 * 3_600
ANSWER_S = 14 * 86_400
_BATCH = 1_000  # tombstones per script call; each call blocks Redis for a few milliseconds


class Marks:
    """Reads and writes marks of jobs. Every method raises `Unavailable` if Redis does not answer."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        """Prepare the scripts. No connection is opened yet.

        Args:
            timeout_s: a worker that was silent for longer no longer counts as living.
        """
        self._link, self._timeout_ms = link, int(timeout_s * 1000)
        self._claims = link.redis.register_script(scripts.CLAIMS)
        self._doubt_claim = link.redis.register_script(scripts.DOUBT_CLAIM)
        self._tombstone = link.redis.register_script(scripts.TOMBSTONE)
        self._answer = link.redis.register_script(scripts.ANSWER)

    def tombstone(self, job_ids: Iterable[str]) -> None:
        """Note that these jobs have ended. No worker may claim one, and a worker that still runs one stops at its next heartbeat."""
        ids = list(job_ids)
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            for start in range(0, len(ids), _BATCH):
                self._tombstone(args=[TOMBSTONE_S, *ids[start : start + _BATCH]], client=pipeline)
            pipeline.execute()

    def tombstoned(self, job_ids: Iterable[str]) -> set[str]:
        """Return the ids of those jobs that have a tombstone."""
        ids = list(job_ids)
        with self._link.answering(), self._link.redis.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.exists(keys.ended(job_id))
            return {job_id for job_id, there in zip(ids, pipeline.execute(), strict=True) if there}

    def revive(self, job_ids: Iterable[str]) -> None:
        """Remove the tombstones of these jobs. They come from a newer database that a backup or a lagging standby has replaced."""
        names = [keys.ended(job_id) for job_id in job_ids]
        if names:
            with self._link.answering():
                self._link.redis.unlink(*names)

    def claims(self, job_ids: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        """Return the claims of these jobs: job id -> (attempt, worker id, incarnation). Jobs without a claim are left out."""
        ids = list(job_ids)
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            for job_id in ids:
                pipeline.hmget(keys.claim(job_id), "attempt", "worker", "incarnation")
            return {job_id: tuple(claim) for job_id, claim in zip(ids, pipeline.execute(), strict=True) if None not in claim}

    def claimed(self) -> set[str]:
        """Return the jobs that have a claim and no tombstone. Keys that look like a claim but are none are removed.

        This scans all keys of Redis, a thousand at a time.
        """
        found: set[str] = set()
        cursor = "0"
        with self._link.answering():
            while True:
                cursor, ids = cast("tuple[str, list[str]]", self._claims(args=[cursor, keys.CLAIM_TTL_S]))
                found.update(ids)
                if cursor == "0":
                    return found

    def forget_claims(self, job_ids: Iterable[str]) -> None:
        """Forget the claims of these jobs, which the table does not know."""
        with self._link.answering(), self._link.redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.unlink(keys.claim(job_id))
            pipeline.execute()

    def doubt_claims(self, issued: Mapping[str, int]) -> None:
        """Forget claims of attempts that were never issued. They would block their jobs for days.

        Args:
            issued: job id -> the last attempt that was issued.
        """
        with self._link.answering(), self._link.redis.pipeline(transaction=False) as pipeline:
            for job_id, attempt in issued.items():
                self._doubt_claim(args=[job_id, attempt, self._timeout_ms], client=pipeline)
            pipeline.execute()

    def answer(self, answers: Iterable[tuple[str, str, int, str]]) -> None:
        """Answer workers about their results.

        Args:
            answers: (worker id, job id, attempt, `recorded` or `unwanted`).
        """
        by_worker: dict[str, list[str]] = defaultdict(list)
        for worker_id, job_id, attempt, verdict in answers:
            by_worker[worker_id] += [answer_field(job_id, attempt), verdict]
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            for worker_id, verdicts in by_worker.items():
                self._answer(keys=[keys.answers(worker_id)], args=[ANSWER_S, *verdicts], client=pipeline)
            pipeline.execute()
