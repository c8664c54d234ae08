"""Tests the random order of the rounds in which the jobs of a block are measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from shared.ids import AttemptKey
from worker.supervisor.rounds import order_of


@dataclass(frozen=True)
class Job:
    key: AttemptKey


def jobs(campaign: str = "campaign-0123456789abcdefgh", count: int = 8) -> list[Job]:
    return [Job((f"{campaign}-job-{number}", 1)) for number in range(1, count + 1)]


def test_each_round_has_every_job_once_in_an_order_of_its_own() -> None:
    block = jobs()
    rounds = [order_of(block, number) for number in range(1, 7)]
    assert all(sorted(job.key for job in found) == sorted(job.key for job in block) for found in rounds)
    assert len({tuple(found) for found in rounds}) == 6


def test_the_order_follows_from_the_jobs_and_the_round_whatever_the_order_of_the_message() -> None:
    block = jobs()
    assert order_of(block, 3) == order_of(list(reversed(block)), 3)
    other = [job.key[0].rpartition("-")[2] for job in order_of(jobs("campaign-zzzzzzzzzzzzzzzzzz"), 3)]
    assert [job.key[0].rpartition("-")[2] for job in order_of(block, 3)] != other


def test_the_others_keep_their_order_when_a_job_leaves() -> None:
    block = jobs()
    whole = order_of(block, 2)
    assert order_of(block[1:], 2) == [job for job in whole if job != block[0]]


def test_no_job_has_a_favourite_place() -> None:
    """Over many rounds, each of two jobs is first about as often as the other: 500 of 1 000, give or take four standard deviations."""
    first = Counter(order_of(jobs(count=2), number)[0] for number in range(1, 1_001))
    assert all(abs(times - 500) < 64 for times in first.values())
