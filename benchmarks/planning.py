"""Measures the CPU time of planning per job, for 100 000 jobs compared with 1 000 jobs, for several forms of recipes.

    python -m benchmarks.planning

The ratio of the two shows on every machine whether planning is linear. Small and large plans alternate, and the median counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from orchestrator.domain.planning import of_recipe, plan
from orchestrator.operations.model_sources import unresolved
from orchestrator.operations.short_form import ShortCampaign
from shared.recipes import parse_recipe

SMALL, LARGE = 1_000, 100_000
ROUNDS = 3
LIMIT_S = 3.0  # for 100 000 jobs
LIMIT_RATIO = 2.0  # of the times per job; above 1 because garbage collection takes longer with more objects


def many_models(jobs: int) -> dict[str, Any]:
    """Return a recipe with `jobs` jobs: at most 1 000 models, and a sweep of one option."""
    models = [f"https://models.example/{number}.onnx" for number in range(min(1_000, jobs // 4))]
    return {"models": models, "on": ["cpu.onnx"], "sweep": {"options.batch_size": list(range(1, jobs // len(models) + 1))}}


def models_with_options(jobs: int) -> dict[str, Any]:
    content = many_models(jobs)
    return content | {"models": [{"model": model, "options": {"graph": "all"}} for model in content["models"]]}


def one_model(jobs: int) -> dict[str, Any]:
    """Return a recipe with one model and two swept options, which are validated together."""
    values = list(range(1, int(jobs**0.5) + 1))
    sweep = {"options.batch_size": values, "options.threads": values}
    return {"model": "https://models.example/m.onnx", "on": ["cpu.onnx"], "sweep": sweep}


def planned(content: dict[str, Any]) -> int:
    """Parse and plan a recipe. Return the number of its jobs."""
    request = of_recipe(parse_recipe(content))
    return len(plan(request, [unresolved(entry) for entry in request.entries], []).jobs)


def short_form(jobs: int) -> int:
    """Plan a campaign in short form with `jobs` different jobs. Return the number of planned jobs."""
    content = {"model_url": "m", "jobs": [{"compute_unit": "cpu.onnx", "timeout_s": number + 1} for number in range(jobs)]}
    request = ShortCampaign.model_validate(content, strict=False).request()
    return len(plan(request, [unresolved(entry) for entry in request.entries], []).jobs)


FORMS: dict[str, Callable[[int], int]] = {
    "1 000 models": lambda jobs: planned(many_models(jobs)),
    "1 000 models with options of their own": lambda jobs: planned(models_with_options(jobs)),
    "one model, two swept options": lambda jobs: planned(one_model(jobs)),
    "short form, all jobs different": short_form,
}


def seconds(form: Callable[[int], int], jobs: int) -> tuple[float, int]:
    begin = time.process_time()
    made = form(jobs)
    return time.process_time() - begin, made


def main() -> int:
    passed = True
    for name, form in FORMS.items():
        small: list[float] = []
        large: list[float] = []
        total: list[float] = []
        for _ in range(ROUNDS):
            spent, made = seconds(form, SMALL)
            small.append(spent / made)
            spent, made = seconds(form, LARGE)
            large.append(spent / made)
            total.append(spent)
        ratio = median(large) / median(small)
        passed = passed and ratio <= LIMIT_RATIO and median(total) <= LIMIT_S
        print(f"{name}: {median(total):.2f} s for {made} jobs, read and planned; for each job {ratio:.2f} × that of {SMALL}")
    print(f"targets: {LIMIT_S:g} s, {LIMIT_RATIO:g} ×: {'reached' if passed else 'MISSED'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
