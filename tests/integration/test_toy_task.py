"""Tests that a task and a scorer in a package of their own are used like ours: from the recipe to the scores in the files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.record import record
from orchestrator.operations.scoring import score_ended
from orchestrator.operations.submit import submit_recipe
from orchestrator.store import results
from orchestrator.verdicts.figures import compared_figure, figure_kind
from shared.errors import InvalidInput
from shared.ids import job_id
from shared.protocol.messages import Assignment, Device
from shared.recipes import parse_recipe
from shared.scorers import registry as scorers
from shared.tasks import registry as tasks
from shared.workloads import Workload
from tests.integration.reports import INCARNATION, WORKER
from tests.measuring import Stages, supervisor
from tests.plugins import install
from worker.reports import Author, packed, result_of

# This is the example of docs/how-to/quality-of-answers.md, with a scorer that counts.
SOURCE = """
from shared.figures import FigureKind
from shared.scorers.base import Scorer, Unscored
from shared.tasks.base import Document, Task


def documents(settings):
    texts = ["The river rose.", "The bridge holds.", "Nobody asked."]
    return [Document(str(number), text, ("a headline",) if number < 2 else ()) for number, text in enumerate(texts[: settings.documents])]


def score(output, references):
    if not references:
        raise Unscored("the document has no reference")
    return {"headline_words": len(output.split())}


HEADLINES = Task(
    name="headlines", version="7", prompt="Write a headline: {document}", max_tokens=60, scorers=("words",), documents=documents,
    settings=frozenset({"documents"}),
)
WORDS = Scorer("words", "3", {"headline_words": FigureKind("1", "neither", "words of a headline")}, score)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    brought = {"fleetmark.tasks/headlines": "toy_task:HEADLINES", "fleetmark.scorers/words": "toy_task:WORDS"}
    folder = install(tmp_path / "packages", brought, SOURCE, module="toy_task")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
    for one in (tasks, scorers):
        one._of_packages.cache_clear()
    yield
    for one in (tasks, scorers):
        one._of_packages.cache_clear()


@pytest.mark.usefixtures("package")
def test_a_task_and_a_scorer_of_one_file_are_measured_and_judged(ctx: Context, tmp_path: Path) -> None:
    model = tmp_path / "llm"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"answers": ["River rises", "The bridge still holds", "Silence"]}))
    recipe = {"model": model.as_uri(), "on": ["cpu.torch"], "task": "headlines", "repeats": 1, "warmup": {"min_calls": 1, "min_s": 0}}
    campaign = submit_recipe(ctx, parse_recipe(recipe)).campaign.id
    with ctx.store.read() as session:
        stored = results.first_workload(session, campaign)
    workload = Workload.model_validate({name: value for name, value in stored.items() if name != "format"}, strict=False)
    one = Assignment(job_id=job_id(campaign, 1), campaign_id=campaign, attempt=1, capability="fake", workload=workload)
    with supervisor(tmp_path / "measurer") as measurer:  # a worker without torch: the fake generator answers
        outcome = measurer.run(one, Stages())
    assert (outcome.status, outcome.error) == ("complete", "")
    files = {name: content for name, content in outcome.files.items() if isinstance(content, bytes)}
    author = Author(WORKER, INCARNATION, Device(name="here"), "1")
    record(ctx, [result_of(author, one, outcome, "", (1.0, 2.0), packed(files, None)[0])])
    assert (score_ended(ctx), finish_ended(ctx)) == (1, 1)
    folder = ctx.settings.outputs_dir / campaign
    (judged,) = json.loads((folder / "report.json").read_text())["quality"]
    assert (judged["task"], judged["task_version"], judged["task_package"]) == ("headlines", "7", "toys 1.0")
    assert judged["scorers"]["words"]["version"] == "3"
    assert judged["scorers"]["words"]["package"] == "toys 1.0"
    assert judged["scorers"]["words"]["unscored"] == {"the document has no reference": 1}
    assert (judged["scores"]["headline_words"]["value"], judged["scores"]["headline_words"]["n"]) == (3.0, 2)
    lines = [json.loads(line) for line in (folder / "outputs.jsonl").read_text().splitlines()]
    assert [(line["output"], line.get("headline_words")) for line in lines] == [
        ("River rises", 2.0),
        ("The bridge still holds", 4.0),
        ("Silence", None),
    ]
    assert "of the package toys 1.0" in (folder / "report.md").read_text()
    (row,) = csv.DictReader((folder / "results.csv").read_text().splitlines())
    assert (row["ScoreName"], row["Score"], row["Scores"]) == ("headline_words", "3.0", "headline_words=3")


@pytest.mark.usefixtures("package")
def test_the_figure_of_a_package_can_be_asked_for_and_is_not_tested() -> None:
    assert (figure_kind("headline_words").unit, figure_kind("headline_words").better) == ("1", "neither")
    with pytest.raises(InvalidInput, match="headline_words has no value for each repeat, so no test can compare it"):
        compared_figure("headline_words")
    with pytest.raises(InvalidInput, match="there is no figure 'headline_wordz'"):
        figure_kind("headline_wordz")


@pytest.mark.usefixtures("package")
def test_a_name_that_is_misspelt_is_compared_with_those_of_packages_too() -> None:
    with pytest.raises(InvalidInput, match=r"there is no task 'headline': did you mean 'headlines'\?"):
        parse_recipe({"model": "a", "on": ["cpu.torch"], "task": "headline"})
    with pytest.raises(InvalidInput, match=r"there is no scorer 'word': did you mean 'words'\?"):
        parse_recipe({"model": "a", "on": ["cpu.torch"], "task": "headlines", "evaluate": ["word"]})
