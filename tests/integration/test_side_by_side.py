"""Tests calls that run at the same time: nothing is lost, sent twice or left behind, and every call ends."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from orchestrator.operations import removal, turn
from orchestrator.operations.batch import record_batch
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.enrolment import remove, report_key_for
from orchestrator.operations.finish import finish
from orchestrator.operations.kept_files import keep_files
from orchestrator.operations.leftovers import sweep_leftovers
from orchestrator.operations.logs import CampaignLogs, Wanted
from orchestrator.operations.models import path_of
from orchestrator.operations.record import record
from orchestrator.operations.removal import remove_campaign, remove_model
from orchestrator.operations.reset import reset
from orchestrator.operations.tokens import create_token
from orchestrator.reports.outputs import write_campaign
from orchestrator.store import campaigns, turns
from orchestrator.store.tables import Job, Lane, ModelFile
from shared.clock import FakeClock
from shared.errors import Forbidden
from shared.ids import job_id
from shared.jobs import JobStatus
from shared.tokens import Role
from tests.integration.reports import result, started
from tests.integration.test_removal import DAY, Submit, ended, files, uploaded

TURNS_AT_MOST = 20


@pytest.mark.both_databases
def test_a_priority_that_changes_between_two_pages_of_a_turn_sends_each_job_once(
    ctx: Context, submit: Submit, register: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the priority of a lane is lowered meanwhile, the lane is on two pages."""
    if ctx.store.is_sqlite:
        return  # SQLite has one writer, so nobody changes a priority during a turn
    submit(jobs=1)
    submit(jobs=1)
    for name in ("a", "b"):
        register(name)
    pages, real = [0], turns.open_lanes
    sent: list[Any] = []

    def paged(session: Session, now: Any, limit: int, last: Lane | None = None) -> Any:
        pages[0] += 1
        assert pages[0] < TURNS_AT_MOST, "the turn does not end"
        if pages[0] == 2:
            assert last is not None
            lowered = last.campaign_id
            ctx.store.transact(lambda other: campaigns.set_priority(other, lowered, 0))
        return real(session, now, limit, last)

    monkeypatch.setattr(turn, "LANES_AT_ONCE", 1)
    monkeypatch.setattr(turns, "open_lanes", paged)
    monkeypatch.setattr(ctx.queue, "publish", sent.extend)
    top_up(ctx)
    names = [one.assignment.job_id for one in sent]
    assert len(names) == len(set(names)) == 2


@pytest.mark.parametrize("moment", ["while its end is written", "while its last result is recorded"])
def test_a_campaign_that_ends_during_a_reset_keeps_its_files(
    moment: str, ctx: Context, submit: Submit, register: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    campaign = str(submit(jobs=2).campaign.id)
    record(ctx, [result(job_id(campaign, 1))])
    before = {path.name for path in files(ctx, campaign)}
    assert before
    if moment == "while its end is written":
        record(ctx, [result(job_id(campaign, 2))])

        def written(*given: Any) -> Any:
            reset(ctx)
            return write_campaign(*given)

        monkeypatch.setattr("orchestrator.operations.finish.write_campaign", written)
        finish(ctx, campaign)
    else:
        keep = keep_files

        def kept(*given: Any) -> Any:
            reset(ctx)
            return keep(*given)

        monkeypatch.setattr("orchestrator.operations.record.keep_files", kept)
        record(ctx, [result(job_id(campaign, 2))])
    assert before <= {path.name for path in files(ctx, campaign)}


def test_a_file_that_comes_while_its_campaign_is_removed_is_removed_by_the_sweep(
    ctx: Context, submit: Submit, register: Callable[..., str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    campaign = ended(ctx, submit)
    folder, real = ctx.settings.outputs_dir / campaign, Path.rmdir
    came: list[Path] = []

    def late(path: Path) -> None:
        if path == folder and not came:
            came.append(path)
            (folder / "logs").mkdir()
            (folder / "logs" / "late.log").write_text("x")
        real(path)

    monkeypatch.setattr(Path, "rmdir", late)
    remove_campaign(ctx, campaign)
    monkeypatch.undo()
    assert came
    assert folder.exists()
    for path in ctx.settings.outputs_dir.rglob("*"):
        os.utime(path, (clock.now().timestamp(),) * 2)
    clock.advance(7_200)
    sweep_leftovers(ctx)
    assert not folder.exists()


def test_followers_see_every_line_of_a_log_that_is_being_written(ctx: Context, submit: Submit, register: Callable[..., str]) -> None:
    register()
    campaign = str(submit(jobs=1).campaign.id)
    folder = ctx.settings.outputs_dir / campaign / "logs"
    folder.mkdir(parents=True)
    lines = [json.dumps({"attempt": 1, "message": f"line {number}"}).encode() + b"\n" for number in range(6)]
    logs, file = CampaignLogs(ctx, campaign, Wanted()), folder / f"{job_id(campaign, 1)}.log"
    file.write_bytes(b"".join(lines[:3]) + lines[3][:5])
    found = list(logs.new_lines())
    file.write_bytes(b"".join(lines))
    assert [*found, *logs.new_lines()] == lines


@pytest.mark.parametrize("times", [(-1.7e308, 1.7e308), (0.0, 1.7e308), (0.0, 1.77e9)])
def test_the_clock_of_a_device_spoils_no_histogram_and_no_report(
    times: tuple[float, float], ctx: Context, submit: Submit, register: Callable[..., str]
) -> None:
    register()
    campaign = str(submit(jobs=1).campaign.id)
    began, over = times
    record(ctx, [result(job_id(campaign, 1)).model_copy(update={"started_at": began, "ended_at": over})])
    assert any(path.suffix == ".npz" for path in files(ctx, campaign))
    assert all(one.total_s < 1e9 for one in ctx.registry.histograms.read())


def test_an_upload_of_a_model_that_is_being_removed_keeps_its_file(ctx: Context, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"model"
    sha256 = uploaded(ctx, content)
    os.utime(path_of(ctx, sha256), (clock.now().timestamp(),) * 2)
    clock.advance(10 * 86_400)
    real, upload = removal._is_young, threading.Thread(target=lambda: uploaded(ctx, content))

    def young(*given: Any) -> bool:
        found = real(*given)
        if not found and upload.ident is None:
            upload.start()
            time.sleep(0.3)  # by then the upload waits for the removal
        return found

    monkeypatch.setattr(removal, "_is_young", young)
    remove_model(ctx, sha256, clock.now() - DAY, clock.now())
    upload.join()
    with ctx.store.read() as session:
        known = session.get(ModelFile, sha256) is not None
    assert path_of(ctx, sha256).exists() or not known


def test_only_the_token_of_a_worker_reports_a_batch_for_it_also_once_it_is_removed(
    ctx: Context, submit: Submit, register: Callable[..., str]
) -> None:
    ctx = replace(ctx, settings=ctx.settings.model_copy(update={"broker_logins": True}))
    mine, others = (create_token(ctx, name, Role.WORKER)[0].id for name in ("mine", "another"))
    worker = register("lab-pi")
    report_key_for(ctx, worker, mine)
    name = job_id(str(submit(jobs=1).campaign.id), 1)
    record(ctx, [started(name, worker_id=worker)])
    reports = [result(name, worker_id=worker)]
    with pytest.raises(Forbidden):
        record_batch(ctx, worker, reports, others)
    remove(ctx, worker)
    with pytest.raises(Forbidden):
        record_batch(ctx, worker, reports, others)
    with ctx.store.read() as session:
        found = session.get(Job, name)
    assert found is not None
    assert found.status != JobStatus.COMPLETE
    assert record_batch(ctx, worker, reports, mine) == [""]
