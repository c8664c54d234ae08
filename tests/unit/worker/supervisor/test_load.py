"""Tests a whole attempt that puts a service under load: from the recipe to the figures, with a Redis that the worker starts."""

from __future__ import annotations

import io
import re
from pathlib import Path

import psutil

from shared.protocol.messages import Assignment
from shared.recipes import load_recipe
from shared.recipes.cells import cells_of
from shared.request_records import NAME, RECORD, read_header
from shared.workloads import Workload
from tests.measuring import CAMPAIGN, Stages, log_for, supervisor

RECIPE = """
service: {type: redis}
client: {type: redis_stress, settings: {concurrent_clients: 3, num_keys: 100, warmup_delay: 0, duration_s: 1.6}}
benchmarks: {num_clients: 2, repeats: 2}
"""


def test_a_recipe_of_two_lines_becomes_figures_records_and_news_and_leaves_no_process(tmp_path: Path) -> None:
    cell = next(cells_of(load_recipe(RECIPE)))
    workload = Workload(spec=cell.spec(), target=cell.target(), repeats=2)
    job = Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="service.redis", workload=workload)
    stages, before = Stages(), set(psutil.Process().children(recursive=True))  # servers of other tests
    with supervisor(tmp_path) as made:
        outcome = made.run(job, stages, log_for(job))
        path = outcome.files[NAME]
        assert isinstance(path, Path)
        content = path.read_bytes()
    assert (outcome.status, outcome.error) == ("complete", "")
    assert outcome.figures is not None
    figures = {figure.name: figure for figure in outcome.figures.figures}
    assert (figures["success_rate"].value, figures["concurrency"].value) == (100, 6)
    assert len(figures["requests_per_s"].repeats) == 2
    assert figures["client_ceiling_per_s"].value is not None
    header = read_header(io.BytesIO(content))
    assert [(part.repeat, part.client) for part in header.parts] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert sum(part.count for part in header.parts) * RECORD.size == len(content) - len(header.to_line())
    assert any(
        re.fullmatch(
            r"repeat 1 of 2: measuring \([0-9]+ % done, .* requests/s, median .* ms, (p99 .* ms, )?none failed, [0-9]+ in flight\)", name
        )
        for name in stages.names()
    )
    progress = [fraction for _, fraction in stages.seen if fraction is not None]
    assert progress == sorted(progress)
    within = [fraction for name, fraction in stages.seen if re.match(r"repeat 1 of 2: measuring( \(|$)", name) and fraction is not None]
    assert within[0] == 0.15, "each of two repeats is half of the job, and the measurement begins when 30 % of a repeat are done"
    assert within[0] < within[-1] <= 0.5
    assert set(psutil.Process().children(recursive=True)) <= before
