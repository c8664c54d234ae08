"""Tests the files of a result: they are complete before the worker gets its answer, are written outside of transactions, and only once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.operations.awaited import FILE_WAIT, TRIES
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.operations.uploads import Upload
from shared.clock import FakeClock
from shared.ids import job_id
from shared.protocol import keys
from shared.protocol.messages import Artifact, Result
from tests.halves import being_written
from tests.integration.api.conftest import serving
from tests.integration.reports import WORKER, artifact, handed_back, result, started
from tests.integration.test_way_of_a_job import counters, events

Submit = Callable[..., Submitted]
Register = Callable[..., str]


def uploaded(ctx: Context, report: Result, content: bytes) -> Result:
    """Return the same result with its samples sent by HTTP."""
    path = Upload(ctx, report.job_id, report.attempt, "samples.npz").whole
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return announced(report, "samples.npz", content)


@pytest.fixture
def api(ctx: Context) -> Iterator[httpx.Client]:
    with serving(ctx) as client:
        yield client


def announced(report: Result, name: str, content: bytes) -> Result:
    """Return the same result with a file that must be sent by HTTP."""
    beside = Artifact(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    return report.model_copy(update={"artifacts": report.artifacts | {name: beside}})


def from_another(report: Result) -> Result:
    return report.model_copy(update={"worker_id": "worker-b", "incarnation": "another-start"})


def answers(ctx: Context) -> dict[str, str]:
    return {str(field): str(verdict) for field, verdict in ctx.registry.redis.hgetall(keys.answers(WORKER)).items()}


def samples_of(ctx: Context, name: str) -> Path:
    return ctx.settings.outputs_dir / name.rpartition("-job-")[0] / "samples" / f"{name}.npz"


def put(api: httpx.Client, address: str, first: int, content: bytes) -> httpx.Response:
    """Return the content of the file from `first` on."""
    digest = "sha-256=" + base64.b64encode(hashlib.sha256(content).digest()).decode()
    span = f"bytes {first}-{len(content) - 1}/{len(content)}"
    return api.put(address, content=content[first:], headers={"Digest": digest, "Content-Range": span})


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
    obstacle.mkdir()  # a folder in the place of the file: no user, not even root, can write the file
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
    half, theirs = samples / f".{name}.npz.0badcafe.part", samples / f".{name}.npz.0cafebad.part"
    half.write_bytes(b"raw sam")
    with being_written(theirs):
        record(ctx, [result(name)])
    assert sorted(path.name for path in samples.iterdir()) == [theirs.name, f"{name}.npz"], "another consumer may be writing it now"


def test_a_file_whose_collector_was_killed_before_it_said_that_it_is_whole_is_kept(
    ctx: Context, submit: Submit, register: Register, api: httpx.Client
) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    report = announced(result(name), "samples.npz", b"many samples")
    Upload(ctx, name, 1, "samples.npz").add(b"many samples", 0, 12)  # the worker sends nothing after this
    assert api.head(f"/api/jobs/{name}/attempts/1/artifacts/samples.npz").headers["Upload-Offset"] == "12", "its worker sends nothing more"
    record(ctx, [report])
    assert answers(ctx) == {f"{name}/1": "recorded"}
    assert samples_of(ctx, name).read_bytes() == b"many samples"
    assert uploads(ctx, name) == []


@pytest.mark.parametrize("which", ["samples.npz", "log.jsonl"])
@pytest.mark.parametrize("left", [b"", b"half of", b'{"attempt": 1, "message": "another\'s"}'], ids=["nothing", "a half", "another file"])
def test_a_result_whose_file_did_not_come_is_not_answered_until_it_has(
    ctx: Context, submit: Submit, register: Register, api: httpx.Client, which: str, left: bytes
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    content = b'{"attempt": 1, "message": "a line"}\n'
    report = announced(result(name), which, content)
    upload = Upload(ctx, name, 1, which)
    if left:
        upload.add(left, 0, len(content))
        if len(left) >= len(content):
            upload.part.replace(upload.whole)
    record(ctx, [report])
    assert (counters(ctx, campaign), answers(ctx)) == ({"complete": 1}, {})
    assert events(ctx, campaign) == ["complete", "file_awaited"]
    address = f"/api/jobs/{name}/attempts/1/artifacts/{which}"
    offset = int(api.head(address).headers["Upload-Offset"])
    assert offset == (len(left) if len(left) < len(content) else 0)
    upload.drop()
    assert put(api, address, 0, content).json()["complete"] is True
    record(ctx, [report])
    assert answers(ctx) == {f"{name}/1": "recorded"}
    assert events(ctx, campaign) == ["complete", "file_awaited", "file_arrived"]
    kept = samples_of(ctx, name) if which == "samples.npz" else ctx.settings.outputs_dir / campaign.id / "logs" / f"{name}.log"
    assert kept.read_bytes() == content
    assert api.head(address).status_code == 409, "nobody asks for it any more"
    record(ctx, [report])
    assert events(ctx, campaign) == ["complete", "file_awaited", "file_arrived"]


def test_a_file_that_never_comes_is_given_up_and_the_history_says_so(
    ctx: Context, clock: FakeClock, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    report = announced(result(name), "samples.npz", b"many samples")
    Upload(ctx, name, 1, "samples.npz").add(b"many", 0, 12)
    for _ in range(2 * TRIES):  # these stand for copies of the report that were in the queue
        record(ctx, [report])
    assert events(ctx, campaign) == ["complete", *["file_awaited"] * TRIES]
    clock.advance(FILE_WAIT.total_seconds() - 1)
    record(ctx, [report])
    assert answers(ctx) == {}
    clock.advance(1)
    record(ctx, [report])
    record(ctx, [report])
    assert answers(ctx) == {f"{name}/1": "recorded"}
    assert events(ctx, campaign) == ["complete", *["file_awaited"] * TRIES, "file_missing"]
    assert uploads(ctx, name) == []


def test_an_hour_in_which_nothing_came_gives_up_no_file(ctx: Context, clock: FakeClock, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    report = announced(result(job_id(campaign.id, 1)), "samples.npz", b"many samples")
    record(ctx, [report])
    clock.advance(30 * 86_400)  # the orchestrator was off for 30 days
    record(ctx, [report])
    assert (answers(ctx), events(ctx, campaign)) == ({}, ["complete", "file_awaited", "file_awaited"])


def test_a_file_inside_its_message_that_is_not_what_its_hash_says_is_left_out_aloud(
    ctx: Context, submit: Submit, register: Register
) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    report = result(name)
    spoilt = report.artifacts["samples.npz"].model_copy(update={"sha256": "0" * 64})
    record(ctx, [report.model_copy(update={"artifacts": report.artifacts | {"samples.npz": spoilt}})])
    assert answers(ctx) == {f"{name}/1": "recorded"}, "it would be no better the next time"
    assert events(ctx, campaign) == ["complete", "file_missing"]
    assert not samples_of(ctx, name).exists()


def test_the_samples_of_an_attempt_that_died_do_not_stand_for_those_of_the_next(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [started(name), result(name, status="failed", error="signal 9", error_kind="runner_died")])
    assert samples_of(ctx, name).read_bytes() == b"raw samples"
    record(ctx, [announced(result(name, attempt=2), "samples.npz", b"many samples")])
    assert answers(ctx) == {f"{name}/1": "recorded"}
    assert events(ctx, campaign)[-1] == "file_awaited"


def test_uploads_of_two_who_measured_one_attempt_do_not_stand_for_each_other(
    ctx: Context, submit: Submit, register: Register, api: httpx.Client
) -> None:
    """The first worker sent its file and died. The second took over the claim, and is told that there is already a file."""
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    address = f"/api/jobs/{name}/attempts/1/artifacts/samples.npz"
    put(api, address, 0, b"of the first")
    mine = b"of the second, which is longer"
    offset = int(api.head(address).headers["Upload-Offset"])
    assert put(api, address, offset, mine).status_code == 409
    assert api.head(address).headers["Upload-Offset"] == "0"
    put(api, address, 0, mine)
    record(ctx, [announced(result(name), "samples.npz", mine)])
    assert samples_of(ctx, name).read_bytes() == mine


def test_an_upload_that_cannot_be_removed_holds_up_no_answer(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    late = announced(from_another(result(name)), "samples.npz", b"other samples")
    Upload(ctx, name, 1, "samples.npz").whole.mkdir(parents=True)  # a folder is in the place of the file
    record(ctx, [result(name), late])
    assert ctx.registry.redis.hgetall(keys.answers("worker-b")) == {f"{name}/1": "unwanted"}


def test_of_two_who_measured_one_attempt_the_files_are_those_of_the_one_recorded(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    other = from_another(result(name)).model_copy(update={"artifacts": {"samples.npz": artifact(b"other samples")}})
    record(ctx, [result(name), other])
    assert answers(ctx) == {f"{name}/1": "recorded"}
    assert ctx.registry.redis.hgetall(keys.answers("worker-b")) == {f"{name}/1": "unwanted"}
    assert samples_of(ctx, name).read_bytes() == b"raw samples"


def test_a_result_sent_again_under_its_devices_new_id_is_the_one_recorded(ctx: Context, submit: Submit, register: Register) -> None:
    register()
    name = job_id(submit(jobs=1).campaign.id, 1)
    record(ctx, [result(name)])
    record(ctx, [result(name, worker_id="worker-b")])
    assert ctx.registry.redis.hgetall(keys.answers("worker-b")) == {f"{name}/1": "recorded"}


def test_what_another_consumer_is_writing_at_this_moment_is_left_alone(ctx: Context, submit: Submit, register: Register) -> None:
    """Two consumers may record a batch at once. An incomplete file is removed only if the process that wrote it has ended."""
    register()
    campaign = submit(jobs=1).campaign
    name = job_id(campaign.id, 1)
    record(ctx, [result(name)])
    log = ctx.settings.outputs_dir / campaign.id / "logs" / f"{name}.log"
    fresh, old = (log.with_name(f".{log.name}.{number}.part") for number in ("1111", "2222"))
    old.write_bytes(b"half of a li")
    with being_written(fresh, b"half of a li"):
        record(ctx, [result(name)])
    assert fresh.read_bytes() == b"half of a li"
    assert not old.exists()
    assert [path for path in log.parent.iterdir() if path.suffix == ".part"] == [fresh]
