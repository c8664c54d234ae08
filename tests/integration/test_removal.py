"""Tests the removal of campaigns and of models: what is deleted, what stays, and what happens when others work at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from orchestrator.domain.planning import plan
from orchestrator.operations import removal
from orchestrator.operations.cancel import cancel_campaign
from orchestrator.operations.context import Context
from orchestrator.operations.finish import finish, finish_ended
from orchestrator.operations.leftovers import sweep_leftovers
from orchestrator.operations.models import path_of, store_model
from orchestrator.operations.record import record
from orchestrator.operations.removal import MARK, MARK_AGE_S, old_campaigns, remove_campaign, remove_model, unused_models
from orchestrator.operations.submit import Submitted, submit_recipe
from orchestrator.reports.outputs import write_campaign
from orchestrator.store import campaigns
from orchestrator.store.tables import Campaign, Event, Job, Lane, ModelFile, ResultRow
from shared.clock import FakeClock
from shared.errors import IllegalTransition, InvalidInput, NotFound
from shared.ids import job_id
from shared.recipes import parse_recipe
from tests.integration.reports import result

Submit = Callable[..., Submitted]
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _a_device(register: Callable[..., str]) -> None:
    register()


def counts(ctx: Context) -> list[int]:
    with ctx.store.read() as session:
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in (Campaign, Lane, Job, ResultRow, Event)]


def ended(ctx: Context, submit: Submit) -> str:
    campaign = str(submit(jobs=2).campaign.id)
    record(ctx, [result(job_id(campaign, 1)), result(job_id(campaign, 2), status="failed", error="it broke")])
    assert finish_ended(ctx) >= 1
    return campaign


def files(ctx: Context, campaign: str) -> list[Path]:
    return list(ctx.settings.outputs_dir.rglob(f"*{campaign}*"))


@pytest.mark.both_databases
def test_a_removed_campaign_leaves_nothing_and_its_neighbour_everything(ctx: Context, submit: Submit) -> None:
    stays = ended(ctx, submit)
    before, kept = counts(ctx), sorted(files(ctx, stays))
    goes = ended(ctx, submit)
    size = sum(path.stat().st_size for path in ctx.settings.outputs_dir.rglob("*") if path.is_file() and goes in str(path))
    removed = remove_campaign(ctx, goes)
    assert (removed.jobs, removed.size, removed.left) == (2, size, "")
    assert counts(ctx) == before
    assert files(ctx, goes) == []
    assert sorted(files(ctx, stays)) == kept
    with pytest.raises(NotFound):
        remove_campaign(ctx, goes)


@pytest.mark.both_databases
def test_a_running_campaign_is_not_removed(ctx: Context, submit: Submit) -> None:
    campaign = str(submit(jobs=2).campaign.id)
    record(ctx, [result(job_id(campaign, 1))])
    before, kept = counts(ctx), sorted(files(ctx, campaign))
    assert kept != []
    with pytest.raises(IllegalTransition, match=f"fleetmark stop {campaign}"):
        remove_campaign(ctx, campaign)
    assert counts(ctx) == before
    assert sorted(files(ctx, campaign)) == kept
    cancel_campaign(ctx, campaign)
    remove_campaign(ctx, campaign)
    assert counts(ctx) == [0, 0, 0, 0, 0]


def test_a_result_that_comes_after_the_removal_is_unwanted_and_writes_nothing(ctx: Context, submit: Submit) -> None:
    campaign = str(submit(jobs=1).campaign.id)
    cancel_campaign(ctx, campaign)
    remove_campaign(ctx, campaign)
    assert [answer[3] for answer in record(ctx, [result(job_id(campaign, 1))]).answers] == ["unwanted"]
    assert files(ctx, campaign) == []


def test_reports_that_were_being_written_during_the_removal_go_too(ctx: Context, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = str(submit(jobs=1).campaign.id)
    record(ctx, [result(job_id(campaign, 1))])

    def removed_meanwhile(*given: object) -> object:
        remove_campaign(ctx, campaign)
        return write_campaign(*given)  # type: ignore[arg-type]  # the arguments are passed on unchanged

    monkeypatch.setattr("orchestrator.operations.finish.write_campaign", removed_meanwhile)
    finish(ctx, campaign)
    assert files(ctx, campaign) == []
    assert finish(ctx, campaign) == []


def test_a_removal_that_was_cut_short_is_finished_by_the_sweep(
    ctx: Context, submit: Submit, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign, whole = ended(ctx, submit), ended(ctx, submit)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for where, what, name in ((removal, "remove_files", campaign), (campaigns, "delete_ended", whole)):
        with monkeypatch.context() as patch:
            patch.setattr(where, what, killed)
            with pytest.raises(KeyboardInterrupt):
                remove_campaign(ctx, name)
    # this folder is of a campaign whose rows are only missing from this database
    restored = ctx.settings.outputs_dir / f"campaign-{'0' * 18}"
    restored.mkdir()
    marks = [ctx.settings.outputs_dir / name / MARK for name in (campaign, whole)]
    kept = sorted(set(files(ctx, whole)) - {marks[1]})
    now = clock.now().timestamp()
    for mark in marks:
        os.utime(mark, (now - MARK_AGE_S + 60,) * 2)
    sweep_leftovers(ctx)
    assert all(mark.exists() for mark in marks), "the removal may still be under way"
    clock.advance(61)
    sweep_leftovers(ctx)
    assert files(ctx, campaign) == []
    assert (sorted(files(ctx, whole)), marks[1].exists(), restored.exists()) == (kept, False, True)


def test_a_folder_that_cannot_be_emptied_is_told(ctx: Context, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = ended(ctx, submit)

    def stuck(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path / "plots"))

    with monkeypatch.context() as patch:
        patch.setattr(removal, "_remove", stuck)
        left = remove_campaign(ctx, campaign).left
    assert left.startswith(f"{campaign}/"), "it does not say where the outputs folder is on this machine"
    assert left.endswith("/plots cannot be removed: Permission denied")
    assert (ctx.settings.outputs_dir / campaign / MARK).exists()


@pytest.mark.both_databases
def test_old_campaigns_are_those_that_ended_before(ctx: Context, submit: Submit, clock: FakeClock) -> None:
    old, long = ended(ctx, submit), str(submit(jobs=1).campaign.id)
    runs = str(submit(jobs=1).campaign.id)
    clock.advance(DAY.total_seconds())
    record(ctx, [result(job_id(long, 1))])
    young = ended(ctx, submit)
    clock.advance(60)

    def found(days: int, limit: int = 10) -> list[str]:
        return [one.campaign_id for one in old_campaigns(ctx, clock.now() - days * DAY, limit=limit)]

    assert found(1) == [old]
    assert found(0) == sorted([old, long, young])
    assert found(0, limit=1) == [min(old, long)], "their ids are of the same millisecond"
    assert runs not in found(0)


def uploaded(ctx: Context, content: bytes) -> str:
    return store_model(ctx, [content], f"{content.decode()}.onnx").sha256


@pytest.mark.both_databases
def test_only_models_that_no_job_names_are_removed(ctx: Context, clock: FakeClock) -> None:
    used, weights, unused, young = (uploaded(ctx, content) for content in (b"used", b"weights", b"unused", b"young"))
    companion = {"name": "weights.bin", "sha256": weights, "size": 7}
    recipe = {"name": "r", "models": [{"model": f"sha256:{used}", "companions": [companion]}], "on": ["cpu.onnx"], "inferences": 5}
    submit_recipe(ctx, parse_recipe(recipe))
    clock.advance(40 * 86_400)
    before = clock.now() - 30 * DAY
    for sha256 in (used, weights, unused):
        os.utime(path_of(ctx, sha256), (before.timestamp() - 1,) * 2)
    os.utime(path_of(ctx, young), (before.timestamp() + 1,) * 2)  # this model was uploaded again in the meantime
    assert [one.sha256 for one in unused_models(ctx, before)] == [unused]
    assert not remove_model(ctx, used, before, clock.now() - 60 * DAY), "a campaign has named it since the jobs were read"
    assert not remove_model(ctx, young, before, clock.now())
    assert remove_model(ctx, unused, before, clock.now())
    assert not remove_model(ctx, unused, before, clock.now()), "another process was faster"
    assert [path_of(ctx, one).exists() for one in (used, weights, unused, young)] == [True, True, False, True]
    with ctx.store.read() as session:
        # the types of SQLModel do not know this form
        assert set(session.scalars(select(ModelFile.sha256))) == {used, weights, young}  # type: ignore[call-overload]


def test_a_model_that_goes_while_a_campaign_is_submitted_refuses_the_campaign(
    ctx: Context, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = uploaded(ctx, b"model")
    os.utime(path_of(ctx, model), (0, 0))

    def removed_meanwhile(*given: object) -> object:
        assert remove_model(ctx, model, clock.now() + DAY, clock.now())
        return plan(*given)  # type: ignore[arg-type]  # the arguments are passed on unchanged

    monkeypatch.setattr("orchestrator.operations.submit.plan", removed_meanwhile)
    with pytest.raises(InvalidInput, match="has just been removed"):
        submit_recipe(ctx, parse_recipe({"name": "r", "model": f"sha256:{model}", "on": ["cpu.onnx"], "inferences": 5}))
    assert counts(ctx) == [0, 0, 0, 0, 0]
