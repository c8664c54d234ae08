"""Tests how the answers to a task are judged: after their campaign has ended, again when somebody asks, and the same everywhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from rouge_score.rouge_scorer import RougeScorer

from orchestrator.operations import scoring
from orchestrator.operations.context import Context
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.models import store_model
from orchestrator.operations.record import record
from orchestrator.operations.scoring import score_again, score_ended, scores_are_due
from orchestrator.operations.submit import submit_recipe
from orchestrator.scoring import run
from orchestrator.scoring.process import answer
from orchestrator.scoring.run import Scored
from orchestrator.store import results
from shared.clock import FakeClock
from shared.errors import Conflict, InvalidInput, NotFound
from shared.figures import Figure, Outcome
from shared.ids import job_id
from shared.kinds.generation_figures import FIGURES
from shared.protocol.messages import Result
from shared.recipes import parse_recipe
from shared.tasks import summarization
from shared.written_texts import lines_of
from tests.integration.api.conftest import serving
from tests.integration.reports import artifact, result

RECIPE = {"name": "quality", "model": "https://models.example/llm/config.json", "on": ["cpu.torch"], "task": "summarization"}
ANSWERS = [
    ("The cat sat on the mat.", ["A cat sat on a mat. It slept."]),
    ("", ["Nothing is said."]),
    ("Кошка сидела на ковре.", ["The cat sat."]),
]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the scorers here, because starting a process for each takes a second. One test below starts them."""

    def score(scorer: str, outputs: Sequence[Any], **_more: Any) -> Scored:
        found = answer({"scorer": scorer, "answers": outputs})
        return Scored(found["scores"], found["scorer"]) if "scores" in found else Scored([found] * len(outputs))

    monkeypatch.setattr(run, "score", score)


def campaign_of(ctx: Context, answers: Sequence[tuple[str, list[str]]] = ANSWERS, **more: Any) -> str:
    """Submit a recipe of one job, and record its result with these answers. Return the id of the campaign."""
    campaign = submit_recipe(ctx, parse_recipe(RECIPE | more)).campaign.id
    record(ctx, [measured(job_id(campaign, 1), answers)])
    return campaign


def measured(job: str, answers: Sequence[tuple[str, list[str]]], speed: float = 100.0) -> Result:
    speeds = tuple(speed * (1 + share) for share in (-0.01, 0.0, 0.01, 0.02, 0.03, 0.04))
    figure = Figure.of("tokens_per_s", FIGURES["tokens_per_s"], speed, repeats=speeds, n=6)
    shape = {"batch_size": 1, "input_tokens": 50, "output_tokens": 12}
    task = {"task": "summarization", "task_version": "1", "documents": len(answers), "finish_reasons": {"stop": len(answers)}}
    outputs = [
        {"document_id": f"d{number}", "prompt_sha256": "0" * 64, "output": output, "output_tokens": 5, "finish_reason": "stop",
         "input_tokens": 50, "references": references}
        for number, (output, references) in enumerate(answers, start=1)
    ]  # fmt: skip
    made = result(job)
    files = {"outputs.jsonl": artifact(lines_of(outputs)), **made.artifacts}
    outcome = Outcome(headline="tokens_per_s", figures=(figure,), detail=task | {"shape": shape})
    said = {"summary": None, "outcome": outcome, "capability": "cpu.torch", "model_name": "llm", "model_sha256": "ab" * 32}
    return made.model_copy(update={**said, "artifacts": files, "runtime": {"random_weights": True}})


def finished(ctx: Context) -> None:
    """Let the two threads of the orchestrator do their work: the files of a campaign with answers wait for its scores."""
    assert score_ended(ctx) == 1
    assert finish_ended(ctx) == 1


def by_hand(name: str) -> float:
    """Return the mean over the first two answers. The second is empty and counts as 0, and the third is in another script."""
    scores = RougeScorer([name], use_stemmer=True).score("A cat sat on a mat.\nIt slept.", ANSWERS[0][0])
    return 100 * float(scores[name].fmeasure) / 2


def test_scores_reach_the_row_the_figures_and_every_file(ctx: Context) -> None:
    woken: list[int] = []
    ctx = replace(ctx, wake_scorer=lambda: woken.append(1))
    campaign = campaign_of(ctx)
    assert finish_ended(ctx) == 0, "the files wait for the scores"
    assert woken == [1]
    assert scores_are_due(ctx, campaign)
    finished(ctx)
    assert not scores_are_due(ctx, campaign)
    folder = ctx.settings.outputs_dir / campaign
    with serving(ctx) as api:
        (row,) = csv.DictReader(io.StringIO(api.get(f"/api/campaigns/{campaign}/results").text))
        figures = {one["name"]: one for one in api.get(f"/api/figures?campaign={campaign}").json()["figures"]}
    columns = {"Rouge1": "rouge1", "Rouge2": "rouge2", "RougeL": "rougeL", "RougeLsum": "rougeLsum"}
    for column, name in columns.items():
        assert float(row[column]) == pytest.approx(by_hand(name))
        assert figures[name]["value"] == pytest.approx(by_hand(name))
        assert (figures[name]["unit"], figures[name]["better"]) == ("F1 x 100", "higher")
    assert figures["tokens_per_s"]["value"] == 100.0
    assert (folder / "results.csv").read_text().count(row["Rouge1"]) >= 1
    summary = json.loads((folder / "summary.json").read_text())["jobs"][0]["figures"]["rouge1"]
    assert (summary["n"], summary["repeats"]) == (2, [])
    scores = json.loads((folder / "run.json").read_text())["jobs"][0]["scores"]["scorers"]["rouge"]
    assert (scores["version"], scores["scored"]) == ("1", 2)
    assert scores["settings"]["library"].startswith("rouge-score")
    (why,) = scores["unscored"]
    assert "of the 18 in the answer are others" in why
    page = (folder / "report.md").read_text()
    assert "| rouge1 |" in page
    assert "| 2 of 3 |" in page
    assert "the speed is real, and the quality means nothing" in page
    assert "1 of 3 documents are unscored by `rouge`" in page
    lines = [json.loads(line) for line in (folder / "outputs.jsonl").read_text().splitlines()]
    assert [one["job_id"] for one in lines] == [job_id(campaign, 1)] * 3
    assert [one.get("rouge1") for one in lines] == [pytest.approx(2 * by_hand("rouge1")), 0.0, None]
    assert "others" in lines[2]["unscored"]["rouge"]
    assert list(lines[0])[:6] == ["job_id", "document_id", "prompt_sha256", "output", "output_tokens", "finish_reason"]


def test_the_score_of_any_scorer_is_in_the_csv_and_in_a_comparison(ctx: Context) -> None:
    baseline = campaign_of(ctx, evaluate=["contains", "exact_match"])
    finished(ctx)
    current = campaign_of(ctx, [("It slept.", ["slept"]), ("No.", ["yes"])], evaluate=["contains"])
    finished(ctx)
    with serving(ctx) as api:
        (before,) = csv.DictReader(io.StringIO(api.get(f"/api/campaigns/{baseline}/results").text))
        (after,) = api.get(f"/api/campaigns/{current}/results?format=json").json()
        found = api.get(f"/api/compare?baseline={baseline}&current={current}").json()["pairs"][0]
    assert (before["FoundPercent"], before["ExactMatchPercent"], before["Scores"]) == (
        "0.0",
        "0.0",
        "found_percent=0; exact_match_percent=0",
    )
    names = ("ScoreName", "Score", "FoundPercent", "ExactMatchPercent", "Scores")
    assert [after[name] for name in names] == ["found_percent", 50.0, 50.0, None, "found_percent=50"]
    assert after["ScoreCiLow"] < 50.0 < after["ScoreCiHigh"]
    (first, second) = found["scores"]
    assert [first[name] for name in ("name", "unit", "better", "baseline", "current")] == ["found_percent", "%", "higher", 0.0, 50.0]
    assert (first["current_low"], first["current_high"]) == pytest.approx((after["ScoreCiLow"], after["ScoreCiHigh"]))
    assert (second["name"], second["baseline"], second["current"]) == ("exact_match_percent", 0.0, None)


@pytest.mark.long
def test_answers_are_judged_again_without_measuring_again(ctx: Context) -> None:
    campaign = campaign_of(ctx)
    finished(ctx)
    file = ctx.settings.outputs_dir / campaign / "outputs" / f"{job_id(campaign, 1)}.jsonl"
    file.write_bytes(file.read_bytes().replace(b"The cat sat on the mat.", b"A cat sat on a mat. It slept."))
    with serving(ctx) as api:
        said = api.post(f"/api/campaigns/{campaign}/score")
        assert (said.status_code, said.json()) == (202, {"campaign_id": campaign, "status": "scoring", "jobs": 1})
        waiting = api.get(f"/api/campaigns/{campaign}").json()
        assert (waiting["scores_due"], waiting["reported_at"]) == (True, None)
        assert _rouge1(api, campaign) == pytest.approx(by_hand("rouge1")), "the scores stay until there are others"
        finished(ctx)
        after = api.get(f"/api/campaigns/{campaign}").json()
        assert (after["scores_due"], after["reported_at"] is None) == (False, False)
        assert _rouge1(api, campaign) == 50.0
        values = [one["value"] for one in api.get(f"/api/figures?campaign={campaign}&name=rouge1").json()["figures"]]
    assert values == [50.0], "one row for each figure"
    assert "50 F1 x 100" in (ctx.settings.outputs_dir / campaign / "report.md").read_text()


def _rouge1(api: httpx.Client, campaign: str) -> float:
    (row,) = csv.DictReader(io.StringIO(api.get(f"/api/campaigns/{campaign}/results").text))
    return float(row["Rouge1"])


def test_answers_that_come_after_their_result_was_recorded_are_waited_for(ctx: Context) -> None:
    campaign = campaign_of(ctx)
    (file,) = (ctx.settings.outputs_dir / campaign / "outputs").iterdir()
    aside = file.rename(file.with_suffix(".not-yet"))
    assert (score_ended(ctx), finish_ended(ctx)) == (0, 0), "the files are put into their places after the result is recorded"
    assert scores_are_due(ctx, campaign)
    aside.rename(file)
    finished(ctx)
    figure = json.loads((ctx.settings.outputs_dir / campaign / "summary.json").read_text())["jobs"][0]["figures"]["rouge1"]
    assert figure["value"] == pytest.approx(by_hand("rouge1"))


def test_answers_that_were_given_up_are_not_waited_for(ctx: Context) -> None:
    campaign = submit_recipe(ctx, parse_recipe(RECIPE)).campaign.id
    report = measured(job_id(campaign, 1), ANSWERS)
    wrong = report.artifacts["outputs.jsonl"].model_copy(update={"sha256": "0" * 64})
    record(ctx, [report.model_copy(update={"artifacts": report.artifacts | {"outputs.jsonl": wrong}})])
    finished(ctx)


def test_lost_answers_are_a_reason_and_the_files_of_the_campaign_are_written(ctx: Context, clock: FakeClock) -> None:
    campaign = campaign_of(ctx)
    for file in (ctx.settings.outputs_dir / campaign / "outputs").iterdir():
        file.unlink()
    clock.advance(121)
    finished(ctx)
    figure = json.loads((ctx.settings.outputs_dir / campaign / "summary.json").read_text())["jobs"][0]["figures"]["rouge1"]
    assert figure["value"] is None
    assert "is not in the folder of the campaign" in figure["missing"]


def test_what_cannot_be_judged_because_of_an_error_of_ours_keeps_no_files_back(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = campaign_of(ctx)

    def broken(*_arguments: Any, **_more: Any) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(scoring, "figures_of", broken)
    finished(ctx)
    assert (ctx.settings.outputs_dir / campaign / "report.md").is_file()
    monkeypatch.undo()
    score_again(ctx, campaign)
    assert scores_are_due(ctx, campaign)


def test_a_campaign_without_answers_has_nothing_to_judge(ctx: Context) -> None:
    plain = submit_recipe(ctx, parse_recipe({"model": "https://models.example/a.onnx", "on": ["cpu.onnx"]})).campaign.id
    with pytest.raises(Conflict, match="is still running: its answers are judged when it has ended"):
        score_again(ctx, plain)
    record(ctx, [result(job_id(plain, 1))])
    assert not scores_are_due(ctx, plain)
    with pytest.raises(Conflict, match="only a recipe with `task` has something to judge"):
        score_again(ctx, plain)
    with pytest.raises(NotFound):
        score_again(ctx, "campaign-01m81k4kpq4wq6xn8q")
    unjudged = campaign_of(ctx, evaluate=[])
    assert not scores_are_due(ctx, unjudged)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decoding": {"temperature": 0.5}}, "not comparable: decoding.temperature (0.0 in BASE, 0.5 in NEW)"),
        pytest.param({"prompt": "In one sentence: {document}"}, "not comparable: task.prompt", marks=pytest.mark.long),
        pytest.param({"max_tokens": 9}, "not comparable: task.max_tokens (128 in BASE, 9 in NEW)", marks=pytest.mark.long),
        pytest.param(
            {"task": {"name": "summarization", "documents": 2}},
            "not comparable: task.documents (none in BASE, 2 in NEW)",
            marks=pytest.mark.long,
        ),
        ({"evaluate": ["contains"]}, ""),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
@pytest.mark.long
def test_a_comparison_refuses_other_settings_by_name(ctx: Context, change: dict[str, Any], said: str) -> None:
    baseline, current = campaign_of(ctx), campaign_of(ctx, **change)
    reason = _compared(ctx, baseline, current)["pairs"][0]["reason"]
    assert said in reason
    assert ("not comparable" in reason) == bool(said)


@pytest.mark.long
def test_a_comparison_refuses_another_version_of_the_task(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = campaign_of(ctx)
    monkeypatch.setattr(summarization, "TASK", replace(summarization.TASK, version="2"))
    assert "not comparable: task.version (1 in BASE, 2 in NEW)" in _compared(ctx, baseline, campaign_of(ctx))["pairs"][0]["reason"]


def _compared(ctx: Context, baseline: str, current: str) -> dict[str, Any]:
    with serving(ctx) as api:
        said = api.get(f"/api/compare?baseline={baseline}&current={current}&metric=tokens_per_s")
    assert said.is_success, said.text
    found: dict[str, Any] = said.json()
    return found


def test_a_data_set_is_an_input_that_is_checked_and_kept(ctx: Context) -> None:
    stored = store_model(ctx, [b'{"id": "a", "document": "x", "summary": "y"}\n'], "my.jsonl")
    submitted = submit_recipe(ctx, parse_recipe(RECIPE | {"dataset": stored.source})).campaign.id
    with ctx.store.read() as session:
        workload = results.first_workload(session, submitted)
    reference = {"source": f"sha256:{stored.sha256}", "name": "my.jsonl", "sha256": stored.sha256, "size": stored.size}
    assert workload["dataset"] == reference | {"companions": []}
    broken = store_model(ctx, [b'{"document": "x"}\n{'], "broken.jsonl").source
    for dataset, said in (
        (broken, r"dataset 'broken.jsonl': line 2 is not JSON"),
        (f"sha256:{'0' * 64}", "was uploaded, or it is gone"),
        ("sha256:abc", "a SHA-256 is 64 hexadecimal digits"),
        ("aclsun", "did you mean 'aclsum'"),
    ):
        with pytest.raises(InvalidInput, match=said) as refusal:
            submit_recipe(ctx, parse_recipe(RECIPE | {"dataset": dataset}))
        assert refusal.value.fields[0].path == "dataset"


@pytest.mark.long
@pytest.mark.timeout(900)  # the process imports nltk, which takes minutes if other programs keep the CPUs busy and no bytecode is kept
def test_the_scores_of_real_processes_are_the_same(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    campaign = campaign_of(ctx)
    finished(ctx)
    figure = json.loads((ctx.settings.outputs_dir / campaign / "summary.json").read_text())["jobs"][0]["figures"]["rougeLsum"]
    assert figure["value"] == pytest.approx(by_hand("rougeLsum"))
