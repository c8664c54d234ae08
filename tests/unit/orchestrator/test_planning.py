"""Tests the planning of jobs from a recipe."""

from __future__ import annotations

import pytest

from orchestrator.domain import planning
from orchestrator.domain.placement import KnownWorker
from orchestrator.domain.planning import Plan, of_recipe
from orchestrator.operations.short_form import ShortCampaign
from shared.errors import InvalidInput, Unavailable
from shared.inputs import ModelRef
from shared.recipes import load_recipe
from shared.workloads import inference_of

LAPTOP = KnownWorker("worker-laptop", "laptop", ("cpu.onnx",), memory_mb=8_000)
SERVER = KnownWorker("worker-server", "server", ("cpu.onnx", "gpu.cuda.onnx"), labels={"site": "lab"}, memory_mb=64_000)


def plan(text: str, workers: tuple[KnownWorker, ...] | None = (LAPTOP, SERVER)) -> Plan:
    request = of_recipe(load_recipe(text))
    models = [ModelRef(source=entry.model, name=entry.name or entry.model) for entry in request.entries]
    return planning.plan(request, models, workers)


def test_every_model_meets_every_compute_unit() -> None:
    made = plan("models: [a, b]\non: [cpu.onnx, GPU (ONNX)]\n")
    assert [(job.workload().model.name, job.compute_unit) for job in made.jobs] == [
        ("a", "cpu.onnx"),
        ("a", "GPU (ONNX)"),
        ("b", "cpu.onnx"),
        ("b", "GPU (ONNX)"),
    ]


def test_a_sweep_is_the_product_of_its_lists() -> None:
    made = plan("model: a\non: [cpu.onnx]\nsweep: {options.batch_size: [1, 8], options.threads: [1, 2]}\n")
    assert [(inference_of(job.workload()).options.batch_size, inference_of(job.workload()).options.threads) for job in made.jobs] == [
        (1, 1),
        (1, 2),
        (8, 1),
        (8, 2),
    ]


def test_a_sweep_reaches_numbers_of_the_recipe_itself() -> None:
    assert [inference_of(job.workload()).inferences for job in plan("model: a\non: [cpu.onnx]\nsweep: {inferences: [10, 20]}\n").jobs] == [
        10,
        20,
    ]


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("options.bach_size", "[1]", "did you mean 'batch_size'"),
        ("inferences.deeper", "[1]", "has no key 'deeper'"),
        ("on.7", "[cpu.onnx]", "'7' is no index of a list of 1"),
        ("options.threads", "[none]", "valid integer"),
    ],
)
def test_a_sweep_that_leads_nowhere_is_refused(path: str, values: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message.replace("(", r"\(")):
        plan(f"model: a\non: [cpu.onnx]\ninferences: 5\nsweep: {{{path}: {values}}}\n")


def test_every_means_a_job_for_each_device_that_can() -> None:
    made = plan("model: a\non: [cpu.onnx, gpu.cuda.onnx]\ndevices: every\n")
    assert [(job.compute_unit, job.device) for job in made.jobs] == [
        ("cpu.onnx", "worker-laptop"),
        ("cpu.onnx", "worker-server"),
        ("gpu.cuda.onnx", "worker-server"),
    ]


def test_every_looks_at_the_requirements_too() -> None:
    made = plan("model: a\non: [cpu.onnx]\ndevices: every\nrequires: {min_memory_mb: 32000, labels: {site: lab}}\n")
    assert [job.device for job in made.jobs] == ["worker-server"]


def test_every_with_no_device_to_mean_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"no registered worker has gpu\.rocm\.onnx"):
        plan("model: a\non: [gpu.rocm.onnx]\ndevices: every\n")


def test_an_entry_of_the_list_may_differ_from_the_rest() -> None:
    made = plan("models: [a, {model: b, inferences: 7, options: {threads: 1}}]\non: [cpu.onnx]\ninferences: 50\n")
    assert [(inference_of(job.workload()).inferences, inference_of(job.workload()).options.threads) for job in made.jobs] == [
        (50, None),
        (7, 1),
    ]


def test_what_no_registered_worker_can_meet_is_a_warning_and_no_refusal() -> None:
    made = plan("model: a\non: [cpu.onnx]\nrequires: {min_gpu_memory_mb: 16000}\n")
    assert len(made.jobs) == 1
    assert "no registered worker has cpu.onnx that meets `min_gpu_memory_mb: 16000` yet" in made.warnings[0]


def test_more_jobs_than_a_campaign_may_have_are_refused_before_they_are_made() -> None:
    with pytest.raises(InvalidInput, match="more than 100000 jobs"):
        plan(f"model: a\non: [cpu.onnx]\nsweep: {{inferences: {list(range(1, 1001))}, repeats: {list(range(1, 102))}}}\n")


def test_a_sweep_that_means_too_many_jobs_is_refused_before_its_cells_are_looked_at() -> None:
    values = ", ".join(map(str, range(1, 100_001)))  # with a thousand models, it would take minutes to look at all cells
    with pytest.raises(InvalidInput, match="more than 100000 jobs"):
        plan(f"models: [{', '.join(f'm{number}' for number in range(1_000))}]\non: [cpu.onnx]\nsweep: {{inferences: [{values}]}}\n")


def test_two_entries_that_name_the_same_model_stay_two() -> None:
    made = plan("models: [{model: a, name: A, options: {threads: 1}}, {model: a, name: B}, a]\non: [cpu.onnx]\n")
    works = [job.workload() for job in made.jobs]
    assert [(work.title, inference_of(work).options.threads) for work in works] == [("A", 1), ("B", None), ("a", None)]


def test_a_device_is_named_by_its_id_where_two_have_its_name() -> None:
    twin = KnownWorker("worker-twin", "laptop", ("cpu.onnx",))
    with pytest.raises(
        InvalidInput, match="2 workers are called 'laptop'; name the one that is meant by its id: worker-laptop, worker-twin"
    ):
        plan("model: a\non: [cpu.onnx]\ndevices: [laptop]\n", (LAPTOP, SERVER, twin))
    made = plan("model: a\non: [cpu.onnx]\ndevices: [worker-twin, server]\n", (LAPTOP, SERVER, twin))
    assert [job.device for job in made.jobs] == ["worker-twin", "server"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("laptob", r"no registered device is called 'laptob': did you mean 'laptop'\? Known: laptop, server\. If it joins later, say so"),
        ("worker-sever", r"did you mean 'worker-server'\?"),
        ("h200", r"is called 'h200'\. Known: laptop, server\. If"),
    ],
)
def test_a_device_that_nobody_is_called_is_refused_with_the_nearest_name(name: str, message: str) -> None:
    recipe = f"model: a\non: [cpu.onnx]\ndevices: [laptop, {name}]\n"
    with pytest.raises(InvalidInput, match=message) as caught:
        plan(recipe)
    assert caught.value.fields[0].path == "devices"
    with pytest.raises(InvalidInput, match="and none has registered yet"):
        plan(recipe, ())
    assert len(plan(recipe + "wait_for_device: true\n").jobs) == 2
    assert len(plan(recipe, None).jobs) == 2, "nobody knows, as Redis is away"
    many = tuple(KnownWorker(f"worker-{number}", f"pi-{number:02}", ("cpu.onnx",)) for number in range(30))
    with pytest.raises(InvalidInput, match=r"pi-19 and 10 more\."):
        plan(recipe, many)


def test_every_while_nobody_knows_the_workers_says_so_and_is_no_mistake_of_the_recipe() -> None:
    with pytest.raises(Unavailable, match="Redis, which knows them, does not answer"):
        plan("model: a\non: [cpu.onnx]\ndevices: every\n", None)
    made = plan("model: a\non: [cpu.onnx]\ndevices: [laptop]\n", None)
    assert (len(made.jobs), made.warnings) == (1, [planning.NOT_KNOWN])


def test_equal_jobs_of_the_short_form_are_planned_once_and_count_each() -> None:
    one = {"compute_unit": "cpu.onnx", "num_inference_runs": 20, "device": "laptop", "priority": 9}
    short = ShortCampaign.model_validate({"model_url": "a", "jobs": [one, {"compute_unit": "GPU (ONNX)"}, one]}, strict=False)
    made = planning.plan(short.request(), [ModelRef(source="a", name="a")], [LAPTOP, SERVER])
    assert [(job.compute_unit, job.device, job.cell.priority, inference_of(job.workload()).inferences) for job in made.jobs] == [
        ("cpu.onnx", "laptop", 9, 20),
        ("GPU (ONNX)", None, 5, 10),
        ("cpu.onnx", "laptop", 9, 20),
    ]
    assert made.jobs[0] is made.jobs[2]


SWEEP = "model: a\non: [cpu.onnx]\nsweep: {options.threads: [1, 2, 3, 4, 5, 6]}\n"


def test_jobs_that_are_compared_are_sent_in_a_random_order_which_the_seed_determines() -> None:
    jobs = plan(SWEEP).jobs
    orders = [planning.sending_order(jobs, f"campaign-{number}") for number in range(20)]
    assert all(sorted(order) == [1, 2, 3, 4, 5, 6] for order in orders)
    assert len(set(map(tuple, orders))) > 15
    assert orders[3] == planning.sending_order(jobs, "campaign-3") == [5, 2, 6, 1, 3, 4], "the same on every machine"


def test_equal_jobs_are_sent_in_the_order_of_the_submission() -> None:
    short = ShortCampaign.model_validate({"model_url": "a", "jobs": [{"compute_unit": "cpu.onnx"}] * 5}, strict=False)
    made = planning.plan(short.request(), [ModelRef(source="a", name="a")], [LAPTOP])
    assert planning.sending_order(made.jobs, "campaign-1") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("devices", "expected"), [("any", [False, True]), ("one", [False, True]), ("every", [False, False])])
def test_jobs_of_the_short_form_that_name_no_device_go_where_the_campaign_says(devices: str, expected: list[bool]) -> None:
    body = {"model_url": "a", "devices": devices, "jobs": [{"compute_unit": "cpu.onnx", "device": "laptop"}, {"compute_unit": "cpu.onnx"}]}
    made = planning.plan(ShortCampaign.model_validate(body, strict=False).request(), [ModelRef(source="a", name="a")], [LAPTOP])
    assert [job.device is None for job in made.jobs] == expected
    assert [job.one_device for job in made.jobs] == [False, devices == "one"]


def test_a_plan_for_one_device_warns_if_no_device_can_run_all_of_it() -> None:
    text = SWEEP.replace("cpu.onnx", "cpu.onnx, gpu.cuda.onnx")
    assert plan(text).warnings == []
    apart = (LAPTOP, KnownWorker("worker-gpu", "gpu", ("gpu.cuda.onnx",)))
    assert "no registered worker can run all jobs (cpu.onnx, gpu.cuda.onnx), so several devices share them" in plan(text, apart).warnings[0]
    assert plan(f"{text}devices: any\n", apart).warnings == []
    assert [warning[:40] for warning in plan(text, (LAPTOP,)).warnings] == ["no registered worker has gpu.cuda.onnx y"]


def test_keys_that_have_no_effect_are_warnings_of_the_plan() -> None:
    made = plan("service: {type: redis, address: '127.0.0.1:1', partition: batch}")
    assert made.warnings[0].startswith("`service.partition` has no effect")
