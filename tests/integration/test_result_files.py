"""The files of a result: in their place before the worker is answered, outside of any transaction, and left nowhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from orchestrator.operations.artifacts import upload_path
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from shared.ids import job_id
from shared.protocol import keys
from shared.protocol.messages import Artifact, Result
from tests.integration.reports import WORKER, handed_back, result, started
from tests.integration.test_way_of_a_job import counters

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def uploaded(ctx: Context, report: Result, content: bytes) -> Result:
    """The same result with its samples sent by HTTP."""
    path = upload_path(ctx, report.campaign_id, report.job_id, report.attempt, "samples.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    samples = Artifact(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    return report.model_copy(update={"artifacts": report.artifacts | {"samples.npz": samples}})


def answers(ctx: Context) -> dict[str, str]:
    return {str(field): str(verdict) for field, verdict in ctx.registry.redis.hgetall(keys.answers(WORKER)).items()}


def uploads(ctx: Context, name: str) -> list[Path]:
    return list((ctx.settings.outputs_dir / name.rpartition("-job-")[0] / ".uploads").glob("*"))


def test_an_uploaded_file_is_moved_and_stays_when_the_result_comes_again(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    report = uploaded(ctx, result(name), b"many samples")
    record(ctx, [report])
    record(ctx, [report])
    assert answers(ctx) == {f"{name}/1": "recorded"}
    assert (ctx.settings.outputs_dir / report.campaign_id / "samples" / f"{name}.npz").read_bytes() == b"many samples"
    assert uploads(ctx, name) == []


def test_the_uploads_of_an_unwanted_result_are_dropped_and_replace_nothing(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    record(ctx, [started(name), handed_back(name), result(name)])
    late = uploaded(ctx, result(name, attempt=2, worker_id="worker-b"), b"other samples")
    record(ctx, [late])
    assert (ctx.settings.outputs_dir / late.campaign_id / "samples" / f"{name}.npz").read_bytes() == b"raw samples"
    assert uploads(ctx, name) == []


def test_a_result_whose_files_cannot_be_kept_is_not_answered_until_they_can(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=2).campaign
    first, second = job_id(campaign.id, 1), job_id(campaign.id, 2)
    folder = ctx.settings.outputs_dir / campaign.id
    (folder / "samples").mkdir(parents=True)
    obstacle = folder / "samples" / f"{first}.npz"
    obstacle.mkdir()  # a folder where the file belongs: no user, root neither, can write it
    record(ctx, [result(first), result(second)])
    assert counters(ctx, campaign) == {"complete": 2}
    assert answers(ctx) == {f"{second}/1": "recorded"}
    obstacle.rmdir()
    record(ctx, [result(first)])
    assert answers(ctx) == {f"{first}/1": "recorded", f"{second}/1": "recorded"}
    assert obstacle.read_bytes() == b"raw samples"


def test_what_a_killed_consumer_left_of_a_file_goes_when_the_result_comes_again(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    record(ctx, [result(name)])
    samples = ctx.settings.outputs_dir / name.rpartition("-job-")[0] / "samples"
    (samples / f".{name}.npz.0badcafe.part").write_bytes(b"raw sam")
    record(ctx, [result(name)])
    assert [path.name for path in samples.iterdir()] == [f"{name}.npz"]
