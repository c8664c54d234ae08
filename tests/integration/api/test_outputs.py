"""Tests reading the report, the summary and the other files of a campaign by REST."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from orchestrator.api import outputs
from orchestrator.operations.context import Context
from orchestrator.operations.finish import finish
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from tests.integration.reports import result

Submit = Callable[..., Submitted]
PAGES = ("report", "report.md", "report.json", "summary")


def test_the_report_is_there_once_the_campaign_has_ended(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=1).campaign.id
    url = f"/api/campaigns/{campaign}"
    for page in PAGES:
        refused = api.get(f"{url}/{page}")
        assert (refused.status_code, "1 of its jobs have not ended" in refused.json()["detail"]) == (409, True)
    record(ctx, [result(f"{campaign}-job-1")])
    assert "being written" in api.get(f"{url}/report").json()["detail"]
    finish(ctx, campaign)
    folder = ctx.settings.outputs_dir / campaign
    for page in PAGES[:2]:
        answer = api.get(f"{url}/{page}")
        assert (answer.headers["content-type"], answer.content) == ("text/markdown; charset=utf-8", (folder / "report.md").read_bytes())
    assert api.get(f"{url}/report.json").json()["benchmark_id"] == campaign
    assert api.get(f"{url}/summary").json()["total_jobs"] == 1
    (folder / "summary.json").unlink()
    assert api.get(f"{url}/summary").status_code == 404


def test_the_files_of_a_campaign_are_listed_in_pages_and_downloaded(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=1).campaign.id
    url = f"/api/campaigns/{campaign}/artifacts"
    assert api.get(url).json() == {"count": 0, "artifacts": [], "next_cursor": None}
    record(ctx, [result(f"{campaign}-job-1")])
    finish(ctx, campaign)
    folder = ctx.settings.outputs_dir / campaign
    (folder / ".uploads").mkdir()
    (folder / ".uploads" / "part").write_text("hidden")
    (folder / "link").symlink_to("/etc/hostname")
    names, cursor = [], None
    while True:
        page = api.get(url, params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        names += [one["name"] for one in page["artifacts"]]
        if (cursor := page["next_cursor"]) is None:
            break
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == sorted(there - {".uploads/part", "link"})
    assert {"report.md", "plots/medians.png", f"samples/{campaign}-job-1.npz", f"logs/{campaign}-job-1.log"} <= set(names)
    for name in names:
        answer = api.get(f"{url}/{name}")
        assert (answer.status_code, answer.content) == (200, (folder / name).read_bytes()), name
    part = api.get(f"{url}/report.md", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, (folder / "report.md").read_bytes()[2:6])


def test_a_file_that_is_deleted_at_that_moment_is_not_found(
    api: httpx.Client, ctx: Context, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = submit(jobs=1).campaign.id
    monkeypatch.setattr(outputs, "_artifact", lambda *_: ctx.settings.outputs_dir / "gone")
    answer = api.get(f"/api/campaigns/{campaign}/artifacts/report.md")
    assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")


@pytest.mark.parametrize(
    "name",
    [
        "..%2Fsecret",
        "%2e%2e/secret",
        "plots/..%2f..%2fsecret",
        ".uploads/part",
        "link",
        "linked/secret",
        "plots",
        "",
        "a%00b",
        "%2Fetc%2Fpasswd",
        "a\\b",
        "x" * 5_000,
    ],
)
def test_no_name_leads_out_of_the_campaign_s_folder(api: httpx.Client, ctx: Context, submit: Submit, name: str) -> None:
    campaign = submit(jobs=1).campaign.id
    folder = ctx.settings.outputs_dir / campaign
    for inner in ("plots", ".uploads"):
        (folder / inner).mkdir(parents=True)
    for secret in (ctx.settings.outputs_dir / "secret", folder / ".uploads" / "part"):
        secret.write_text("secret")
    (folder / "link").symlink_to(ctx.settings.outputs_dir / "secret")
    (folder / "linked").symlink_to(ctx.settings.outputs_dir)
    answer = api.get(f"/api/campaigns/{campaign}/artifacts/{name}")
    assert answer.status_code == 404
    assert "secret" not in answer.text.replace(name, "").replace("secret'", "")
