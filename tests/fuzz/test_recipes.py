"""Tests that any text is either a recipe or refused with a reason, and that a recipe has a limited number of distinct jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.domain.placement import KnownWorker
from orchestrator.domain.planning import PlannedJob, of_recipe, plan
from orchestrator.reports.outputs import recipe_text
from shared.capabilities import kinds_of, known_names, resolve
from shared.errors import InvalidInput
from shared.inputs import ModelRef
from shared.jobs import MAX_JOBS
from shared.kinds.inference import Inference
from shared.recipes import Recipe, load_recipe, parse_recipe
from shared.sources import model_name
from tests.fuzz.budget import tried
from tests.fuzz.values import JSON, damaged

# The API refuses NUL, and YAML cannot express a lone surrogate. The tests of damaged recipes try both. Some of these words are numbers in
# one version of YAML and text in the other.
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=30) | st.sampled_from(
    ["1e3", "010", "089", "0o7", "1:30", "on", "~", "=", "<<", "1_0", "2026-03-01"]
)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=30)  # text of one line
SIZES = st.lists(st.integers(1, 64), min_size=1, max_size=3, unique=True)
SCALARS = st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = (
    SCALARS
    | st.lists(SCALARS, min_size=1, max_size=3)
    | st.fixed_dictionaries({"array": st.lists(SCALARS | st.lists(SCALARS), max_size=3)})
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "threads": st.integers(1, 4096),
        "batch_size": st.integers(1, 65_536),
        "graph": st.sampled_from(["disabled", "basic", "extended", "layout", "all"]),
        "shapes": st.dictionaries(WORDS, st.lists(st.integers(-(2**31), 2**31), max_size=3), max_size=2),
        "dims": st.dictionaries(WORDS, st.integers(0, 2**31 - 1), max_size=2),
        "values": st.dictionaries(WORDS, VALUES, max_size=2),
        "seed": st.integers(0, 2**32 - 1),
    },
)
FOR_MODELS = [name for name in known_names() if any(Inference.name in kinds_of(one) for one in resolve(name))]
ENTRIES = NAMES | st.fixed_dictionaries({"model": NAMES}, optional={"name": NAMES, "inferences": st.integers(1, 1000), "options": OPTIONS})
RECIPES: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda named, rest: named | rest,
    st.fixed_dictionaries({"model": NAMES}) | st.fixed_dictionaries({"models": st.lists(ENTRIES, min_size=1, max_size=4)}),
    st.fixed_dictionaries(
        {"on": st.lists(st.sampled_from(FOR_MODELS), min_size=1, max_size=3, unique=True)},
        optional={
            "name": NAMES,
            "notes": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40),
            "devices": st.sampled_from(["one", "any", "every"]) | st.lists(NAMES, min_size=1, max_size=3, unique=True),
            "inferences": st.integers(1, 1000),
            "repeats": st.integers(1, 1000),
            "loads": st.integers(0, 1000),
            "warmup": st.fixed_dictionaries({}, optional={"min_calls": st.integers(0, 100_000), "min_s": st.floats(0, 3600)}),
            "stop": st.none()
            | st.fixed_dictionaries({"precision": st.floats(0.001, 0.99)}, optional={"budget_s": st.floats(0.1, 604_800)}),
            "priority": st.integers(0, 9),
            "queue_timeout_s": st.floats(1, 604_800),
            "requires": st.fixed_dictionaries(
                {}, optional={"min_memory_mb": st.integers(0, 10**6), "labels": st.dictionaries(WORDS, WORDS)}
            ),
            "options": OPTIONS,
            "sweep": st.fixed_dictionaries({}, optional={"options.batch_size": SIZES, "options.threads": SIZES, "inferences": SIZES}),
            "timeout_s": st.floats(1, 604_800),
            "retries": st.fixed_dictionaries({"max_attempts": st.integers(1, 100)}),
            "labels": st.dictionaries(WORDS, WORDS, max_size=3),
        },
    ),
)
LINES = st.sampled_from(
    [
        *("model: a", "on: [cpu.onnx]", "on:", "- x", "  - cpu.onnx", "? [1, 2]", "!!python/object:os.system x"),
        *("!!binary aGk=", "!!set {a, b}"),
        *("&a [*a]", "<<: {model: b}", "sweep: {models.0.inferences: [1]}", "warmup: {min_s: .nan}", "timeout_s: 1e999"),
        *("%YAML 9.9", "---", "..."),
        *("size: 0x" + "f" * 200, "when: 2020-01-01", "on: yes", '"\\ud800": 1', "\t", "{", "]", "'", "|", ">-"),
        *("services: no", "service: x", "x: 1" + ":59" * 200 + ".5", "x: !!float 1" + ":59" * 200 + ".5"),
        *("!!timestamp x", "!!bool maybe", "!!int ''", "!!float ''", "x: 1e999", "%TAG !a! b"),
    ]
)
LAPTOP = KnownWorker("worker-laptop", "laptop", tuple(name for name in known_names() if "." in name), memory_mb=8_000)


def load(text: str) -> Recipe | None:
    try:
        return load_recipe(text)
    except InvalidInput:
        return None


@tried(75)
@given(st.text(max_size=200) | st.lists(LINES | st.text(max_size=20), max_size=8).map("\n".join))
def test_any_text_is_a_recipe_or_invalid(text: str) -> None:
    recipe = load(text)
    assert recipe is None or parse_recipe(recipe.model_dump(mode="json")) == recipe


@tried(40)
@given(st.sampled_from(["[", "{a: ", "- ", "{'", "? ", "!!", "&a ", "a: {"]), st.integers(1, 20_000))
def test_a_recipe_that_is_nested_too_deeply_is_invalid(opening: str, depth: int) -> None:
    assert load(opening * depth) is None
    assert load("\n".join(f"{' ' * level}- " for level in range(min(depth, 1500)))) is None


@tried(75)
@given(damaged(RECIPES))
def test_a_damaged_recipe_is_still_one_or_invalid(content: Any) -> None:
    try:
        parsed = parse_recipe(content)
    except InvalidInput:
        return
    assert parse_recipe(parsed.model_dump(mode="json")) == parsed


@tried(75)
@given(RECIPES)
def test_a_recipe_written_out_is_read_back_the_same(content: dict[str, Any]) -> None:
    recipe = parse_recipe(content)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
    short = recipe.model_dump(mode="json", exclude_defaults=True)
    assert load_recipe(json.dumps(short)) == recipe
    assert load_recipe(recipe_text(short)) == recipe  # the recipe is kept with the results in this form, so that it can be run again


def jobs_of(recipe: Recipe) -> Sequence[PlannedJob]:
    models = [ModelRef(source=entry.model, name=model_name(entry.model)) for entry in recipe.entries()]
    return plan(replace(of_recipe(recipe), wait_for_device=True), models, [LAPTOP]).jobs


@tried(100)
@given(RECIPES)
def test_a_recipe_means_the_product_of_its_lists_each_cell_once(content: dict[str, Any]) -> None:
    recipe = parse_recipe(content)
    entries = [entry.model_dump_json() for entry in recipe.entries()]
    assume(len(set(entries)) == len(entries))
    assume(not any(isinstance(one, dict) and ("inferences" in one or "options" in one) for one in content.get("models", [])))
    assume(recipe.devices != "every" or recipe.requires.is_empty())  # otherwise `every` may match no device, which is refused
    jobs = jobs_of(recipe)
    expected = len(entries) * len(recipe.on) * (len(recipe.devices) if isinstance(recipe.devices, tuple) else 1)
    for values in recipe.sweep.values():
        expected *= len(values)
    assert len(jobs) == expected
    names = {(job.workload().model.source, job.compute_unit, job.device, job.workload().model_dump_json()) for job in jobs}
    assert len(names) == len({entry.model for entry in recipe.entries()}) * expected // len(entries)


PATHS = st.sampled_from(
    [
        *("inferences", "options.threads", "on", "devices", "models", "models.0", "models.0.model", "sweep"),
        *("sweep.inferences", "retries", "name"),
        *("stop", "stop.precision", "", ".", "options..threads", "options.shapes.x.0", "on.0", "on.-1", "models.²"),
        *("requires.labels.site",),
    ]
)


@tried(75)
@given(RECIPES, st.dictionaries(PATHS, st.lists(JSON | st.integers(1, 5), max_size=3), min_size=1, max_size=3))
def test_any_sweep_means_some_jobs_or_is_invalid(content: dict[str, Any], sweep: dict[str, list[Any]]) -> None:
    try:
        recipe = parse_recipe(content | {"sweep": sweep})
        jobs = jobs_of(recipe)
    except InvalidInput:
        return
    assert 1 <= len(jobs) <= MAX_JOBS
    for job in jobs:
        json.dumps(job.workload().model_dump(mode="json"), allow_nan=False)
