"""What Redis remembers about single jobs: that they have ended, who has claimed them, and the answers that workers wait for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import cast

from orchestrator.registry.link import Link
from shared.protocol import keys, scripts
from shared.protocol.messages import answer_field

# Outlives what is on its way when a job ends. Where a message comes later still (a copy behind long jobs), its start is reported, the
# watch finds a worker at an ended job and writes the tombstone anew: a beat of work is wasted, and Redis need not remember weeks of jobs.
TOMBSTONE_S = 6 * 3_600
ANSWER_S = 14 * 86_400
_BATCH = 1_000  # tombstones in one script, which holds up everyone else for a few milliseconds


class Marks:
    """Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, link: Link, timeout_s: float) -> None:
        """
        Args:
            timeout_s: silence after which a worker no longer counts as living.
        """
        self._link, self._timeout_ms = link, int(timeout_s * 1000)
        self._claims = link.redis.register_script(scripts.CLAIMS)
        self._doubt_claim = link.redis.register_script(scripts.DOUBT_CLAIM)
        self._tombstone = link.redis.register_script(scripts.TOMBSTONE)
        self._answer = link.redis.register_script(scripts.ANSWER)

    def tombstone(self, job_ids: Iterable[str]) -> None:
        """Note that these jobs have ended. Nobody may claim one any more, and whoever still runs one stops at its next heartbeat."""
        ids = list(job_ids)
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            for start in range(0, len(ids), _BATCH):
                self._tombstone(args=[TOMBSTONE_S, *ids[start : start + _BATCH]], client=pipeline)
            pipeline.execute()

    def tombstoned(self, job_ids: Iterable[str]) -> set[str]:
        """Return those of them that have ended, as far as Redis knows."""
        ids = list(job_ids)
        with self._link.answering(), self._link.redis.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.exists(keys.ended(job_id))
            return {job_id for job_id, there in zip(ids, pipeline.execute(), strict=True) if there}

    def revive(self, job_ids: Iterable[str]) -> None:
        """Take back that these jobs have ended: a newer table said so, whose place a backup or a lagging standby has taken."""
        names = [keys.ended(job_id) for job_id in job_ids]
        if names:
            with self._link.answering():
                self._link.redis.unlink(*names)

    def claims(self, job_ids: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        """Return who has claimed these jobs: job id -> (attempt, worker id, incarnation). Jobs without a claim are left out."""
        ids = list(job_ids)
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            for job_id in ids:
                pipeline.hmget(keys.claim(job_id), "attempt", "worker", "incarnation")
            return {job_id: tuple(claim) for job_id, claim in zip(ids, pipeline.execute(), strict=True) if None not in claim}

    def claimed(self) -> set[str]:
        """Return the jobs that are claimed and whose end is not noted. Keys that are no claim of a worker of ours are removed.

        This walks over all of Redis' keys, a thousand at a time.
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
        """Forget claims of attempts that were never issued, which would hold up their jobs for days.

        Args:
            issued: job id -> the last attempt that was issued.
        """
        with self._link.answering(), self._link.redis.pipeline(transaction=False) as pipeline:
            for job_id, attempt in issued.items():
                self._doubt_claim(args=[job_id, attempt, self._timeout_ms], client=pipeline)
            pipeline.execute()

    def answer(self, answers: Iterable[tuple[str, str, int, str]]) -> None:
        """Tell workers what became of their results: (worker id, job id, attempt, `recorded` or `unwanted`)."""
        by_worker: dict[str, list[str]] = defaultdict(list)
        for worker_id, job_id, attempt, verdict in answers:
            by_worker[worker_id] += [answer_field(job_id, attempt), verdict]
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            for worker_id, verdicts in by_worker.items():
                self._answer(keys=[keys.answers(worker_id)], args=[ANSWER_S, *verdicts], client=pipeline)
            pipeline.execute()
