"""Puts a real server under load as a worker does: the server starts, is measured once, and ends."""

from __future__ import annotations

from pathlib import Path

from shared.figures import Outcome
from shared.protocol.messages import Assignment
from shared.recipes import load_recipe
from shared.recipes.cells import cells_of
from shared.workloads import Workload
from tests.measuring import CAMPAIGN, Stages, log_for, supervisor
from worker.supervisor import Outcome as Ended


def load_once(folder: Path, recipe: str) -> tuple[Outcome, Ended]:
    """Return the figures of the first job of a recipe, and everything else that the attempt came to. It must complete.

    Args:
        folder: where the worker keeps its files; it is made if it is not there.
    """
    cell = next(cells_of(load_recipe(recipe)))
    workload = Workload(spec=cell.spec(), target=cell.target(), repeats=1)
    job = Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability=cell.on[0], workload=workload)
    folder.mkdir(exist_ok=True)
    with supervisor(folder) as made:
        ended = made.run(job, Stages(), log_for(job))
    assert (ended.status, ended.error) == ("complete", "")
    assert ended.figures is not None
    return ended.figures, ended
