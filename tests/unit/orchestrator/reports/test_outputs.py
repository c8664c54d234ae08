from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image

from orchestrator.reports.bundle import CampaignBundle, DeviceEntry, JobRecord
from orchestrator.reports.inferences.figures import figure
from orchestrator.reports.inferences.plots import medians_png
from orchestrator.reports.inferences.ranking import rank
from orchestrator.reports.outputs import write_campaign
from orchestrator.reports.sheets.registry import sheet_of
from orchestrator.reports.summary import SummaryTail, summary_job
from shared.engine_options import EngineOptions
from shared.inputs import Companion, ModelRef
from shared.jobs import JobStatus
from shared.kinds.hardware import HardwareSpec
from shared.measurements import Noise
from shared.protocol.messages import Device
from shared.recipes import load_recipe
from shared.repetition import StopRule
from shared.workloads import Workload, inference_workload
from tests.halves import being_written
from tests.unit.orchestrator.reports.bundles import CAMPAIGN, bundle, record, result_of


def mixed() -> CampaignBundle:
    """Return a campaign with two very different devices, one failed job and one cancelled job."""
    return bundle(
        [
            record(1, result_of(1, 5.0)),
            record(2, result_of(2, 2.0, capability="gpu.cuda.onnx", device=Device(name="h200"), worker_id="worker-gpu")),
            record(3, result_of(3, status="failed", error="operator Foo | is not implemented", summary=None), status=JobStatus.FAILED),
            record(4, status=JobStatus.CANCELLED, error="cancelled by a user"),
        ],
        notes="first look",
    )


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / CAMPAIGN / name).read_text())


def test_a_campaign_leaves_every_file_and_nothing_half_written(tmp_path: Path) -> None:
    paths = write_campaign(tmp_path, mixed())
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    inside = {"recipe.yaml", "run.json", "summary.json", "results.csv", "report.md", "report.json", "plots/medians.png"}
    assert found == {f"{CAMPAIGN}/{name}" for name in inside} | {f"{CAMPAIGN}_20260304_050607_results.csv"}
    assert {str(path.relative_to(tmp_path)) for path in paths} == found
    assert len(pd.read_csv(paths[-1])) == 4
    assert paths[-1].read_bytes() == (tmp_path / CAMPAIGN / "results.csv").read_bytes()


def test_what_a_killed_writer_left_goes_when_the_files_are_written_again(tmp_path: Path) -> None:
    write_campaign(tmp_path, mixed())
    litter = [tmp_path / CAMPAIGN / name for name in (".run.json.x1.part", ".name_results.csv.x2.part", "plots/.medians.png.x3.part")]
    for path in litter:
        path.write_text("half of i")
    write_campaign(tmp_path, mixed())
    assert list(tmp_path.rglob("*.part")) == []


def test_what_another_process_is_writing_at_this_moment_stays(tmp_path: Path) -> None:
    write_campaign(tmp_path, mixed())
    theirs = tmp_path / CAMPAIGN / ".run.json.x1.part"
    with being_written(theirs, b"half of i"):
        write_campaign(tmp_path, mixed())
        assert theirs.read_text() == "half of i"
    write_campaign(tmp_path, mixed())
    assert not theirs.exists()


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first = {path: path.read_bytes() for path in write_campaign(tmp_path, mixed())}
    assert {path: path.read_bytes() for path in write_campaign(tmp_path, mixed())} == first


def test_a_write_that_fails_leaves_the_old_files_whole(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in write_campaign(tmp_path, mixed())}

    def jobs() -> Iterator[JobRecord]:
        yield record(1, result_of(1))
        raise OSError("the database went away")

    with pytest.raises(OSError, match="went away"):
        write_campaign(tmp_path, bundle(jobs()))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_run_json_says_what_it_takes_to_run_it_again(tmp_path: Path) -> None:
    write_campaign(tmp_path, mixed())
    run = read(tmp_path, "run.json")
    assert run["format"] == 2
    assert run["benchmark_id"] == CAMPAIGN
    assert run["recipe_hash"] == "12" * 32
    assert run["models"] == [{"name": "squeezenet.onnx", "source": "file:///models/squeezenet.onnx", "sha256": "ab" * 32}]
    assert set(run["workers"]) == {"worker-abc", "worker-gpu"}
    assert [job["status"] for job in run["jobs"]] == ["complete", "complete", "failed", "cancelled"]
    assert run["jobs"][0]["runtime"]["providers"] == ["CPUExecutionProvider"]
    assert load_recipe((tmp_path / CAMPAIGN / "recipe.yaml").read_text()).name == "everywhere"
    assert yaml.safe_load((tmp_path / CAMPAIGN / "recipe.yaml").read_text()) == run["recipe"]


def test_a_recipe_with_any_line_end_in_it_is_kept_as_it_was(tmp_path: Path) -> None:
    recipe = {"model": "a", "on": ["cpu.onnx"], "notes": "é \x85\u2028\u2029\r\n\t"}
    write_campaign(tmp_path, bundle([record()], recipe=recipe))
    assert load_recipe((tmp_path / CAMPAIGN / "recipe.yaml").read_text(encoding="utf-8")).notes == recipe["notes"]


def test_summary_json_gives_totals_and_no_figure_across_different_jobs(tmp_path: Path) -> None:
    write_campaign(tmp_path, mixed())
    summary = read(tmp_path, "summary.json")
    assert summary["total_requests"] == summary["successful_requests"] == 1000
    assert summary["error_count"] == 1
    assert summary["success_rate"] == pytest.approx(200 / 3)
    assert summary["latency_s"] is None
    assert "do not merge" in summary["missing"]["latency_s"]
    assert summary["jobs"][0]["latency_s"]["p50"] == pytest.approx(0.005, rel=0.05)
    assert summary["jobs"][0]["latency_s"]["p99"] is None
    assert summary["jobs"][0]["inference_ms"]["missing"]["p99"] == "needs 662 samples, has 500"
    assert summary["jobs"][2]["error"] == "operator Foo | is not implemented"


def test_summary_json_of_one_job_has_its_latency_at_the_top(tmp_path: Path) -> None:
    write_campaign(tmp_path, bundle([record(1, result_of(1, 5.0))]))
    summary = read(tmp_path, "summary.json")
    assert summary["latency_s"] == summary["jobs"][0]["latency_s"]
    assert summary["requests_per_second"] == pytest.approx(200, rel=0.05)


def test_the_page_names_the_fastest_and_every_failure_with_its_reason(tmp_path: Path) -> None:
    write_campaign(tmp_path, mixed())
    page = (tmp_path / CAMPAIGN / "report.md").read_text()
    assert "**squeezenet.onnx**: h200 · GPU (ONNX) is the fastest, 2.5" in page
    assert page.index("| 1 | h200 · GPU (ONNX) |") < page.index("| 2 | pi-5 · CPU (ONNX) |")
    assert "operator Foo \\| is not implemented" in page
    assert "cancelled by a user" in page
    assert "governor is powersave" in page
    assert "fleetmark run recipe.yaml" in page
    assert "p90 64" in page
    assert "student-t over repeats" in page
    assert read(tmp_path, "report.json")["fastest"][0]["ranking"][0]["where"] == "h200 · GPU (ONNX)"


def test_the_page_names_no_winner_where_intervals_overlap(tmp_path: Path) -> None:
    jobs = [record(1, result_of(1, 5.0)), record(2, result_of(2, 5.001, device=Device(name="other"), worker_id="worker-other"))]
    write_campaign(tmp_path, bundle(jobs))
    assert "cannot be told apart from" in read(tmp_path, "report.json")["fastest"][0]["verdict"]


def test_the_page_names_no_winner_from_one_repeat(tmp_path: Path) -> None:
    jobs = [
        record(1, result_of(1, 5.0, repeats=1)),
        record(2, result_of(2, 50.0, repeats=1, device=Device(name="other"), worker_id="worker-other")),
    ]
    write_campaign(tmp_path, bundle(jobs))
    assert "has no interval (it needs 2 repeats): no winner is named" in read(tmp_path, "report.json")["fastest"][0]["verdict"]


def test_other_batch_sizes_are_other_work_and_other_threads_are_not(tmp_path: Path) -> None:
    def job(number: int, batch: int, threads: int) -> JobRecord:
        model = ModelRef(source="file:///models/squeezenet.onnx", name="squeezenet.onnx")
        options = EngineOptions(batch_size=batch, threads=threads)
        return record(number, result_of(number, batch * 5.0), workload=inference_workload(model=model, options=options))

    sweep = {"options.batch_size": [1, 8], "options.threads": [1, 2]}
    jobs = [job(1, 1, 1), job(2, 1, 2), job(3, 8, 1), job(4, 8, 2)]
    write_campaign(tmp_path, bundle(jobs, recipe={"model": "x", "on": ["cpu.onnx"], "sweep": sweep}))
    fastest = read(tmp_path, "report.json")["fastest"]
    assert [entry["work"] for entry in fastest] == ["squeezenet.onnx · batch_size 1", "squeezenet.onnx · batch_size 8"]
    assert {one["where"] for one in fastest[0]["ranking"]} == {"pi-5 · CPU (ONNX) · threads 1", "pi-5 · CPU (ONNX) · threads 2"}


def test_a_campaign_in_which_nothing_was_measured_is_written_too(tmp_path: Path) -> None:
    write_campaign(tmp_path, bundle([record(1, status=JobStatus.CANCELLED, error="cancelled by a user")]))
    assert "No job was measured" in (tmp_path / CAMPAIGN / "report.md").read_text()
    assert read(tmp_path, "summary.json")["missing"]["success_rate"] == "no job ended by itself"


def test_names_of_strangers_cannot_write_markdown_or_math(tmp_path: Path) -> None:
    evil = Device(name="<script>alert(1)</script>|x $\\frac{$ [a](http://b)")
    write_campaign(tmp_path, bundle([record(1, result_of(1, device=evil))], name="$\\bad{ name"))
    page = (tmp_path / CAMPAIGN / "report.md").read_text()
    assert "<script>" not in page
    assert "[a](http" not in page


def test_what_strangers_wrote_commands_no_terminal_and_turns_no_line_around(tmp_path: Path) -> None:
    evil = "evil\x1b[2J\x07\u202e\x9b"
    ended = [record(1, result_of(1, device=Device(name=evil))), record(2, status=JobStatus.CANCELLED, error=evil)]
    write_campaign(tmp_path, bundle(ended, name=evil, notes=evil))
    page = (tmp_path / CAMPAIGN / "report.md").read_text()
    assert page.count("evil\\\\x1b\\[2J\\\\x07\\\\u202e\\\\x9b") >= 4
    assert all(character.isprintable() for character in page.replace("\n", ""))


def test_the_picture_grows_with_its_bars_and_stops_at_forty() -> None:
    def height(count: int) -> int:
        figures = [
            figure(record(n, result_of(n, 1.0 + n, repeats=2, inferences=2, device=Device(name=f"device-{n}"))))
            for n in range(1, count + 1)
        ]
        with Image.open(io.BytesIO(medians_png(rank(figures), "everywhere"))) as image:
            return image.height

    assert height(1) < height(40)
    assert height(60) - height(40) < 60  # the note adds only its own line


@pytest.mark.parametrize(
    "login", ["user:pa'SECRET", 'user:pa"SECRET', "user:p/SECRET", "ghp_SECRET"]
)  # an old row may contain values that are refused now
def test_no_file_of_a_campaign_shows_a_login_and_each_can_be_read(tmp_path: Path, login: str) -> None:
    address, shown = f"https://{login}@models.example/m.onnx", "https://***@models.example/m.onnx"
    workload = inference_workload(model=ModelRef(source=address, name="m.onnx"))
    jobs = [record(1, result_of(1, status="failed", error="no", summary=None), status=JobStatus.FAILED, workload=workload)]
    for recipe in ({"model": address, "on": ["cpu.onnx"]}, {"model_url": address, "jobs": [{"compute_unit": "cpu.onnx"}]}):
        for file in write_campaign(tmp_path, bundle(jobs, recipe=recipe, notes=f"it's at {address}.")):
            assert b"SECRET" not in file.read_bytes(), file
        assert yaml.safe_load((tmp_path / CAMPAIGN / "recipe.yaml").read_text()) == recipe | {next(iter(recipe)): shown}
        run = read(tmp_path, "run.json")
        assert run["models"] == [{"name": "m.onnx", "source": shown, "sha256": "ab" * 32}]
        assert run["jobs"][0]["workload"]["model"]["source"] == shown


def test_models_of_one_graph_with_other_weights_are_told_apart_before_and_after_a_device_had_them(tmp_path: Path) -> None:
    refs = [
        ModelRef(
            source=f"sha256:{'a' * 64}",
            name="m.onnx",
            sha256="a" * 64,
            size=10,
            companions=(Companion(name="w.bin", sha256=weights * 64, size=20),),
        )
        for weights in "bc"
    ]
    texts = [f"fleetmark-model 1\n{'a' * 64} 10\n{weights * 64} 20 w.bin\n" for weights in "bc"]
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    failed = [
        record(number, None, status=JobStatus.FAILED, workload=inference_workload(model=ref)) for number, ref in enumerate(refs, start=1)
    ]
    write_campaign(tmp_path, bundle(failed))
    run = read(tmp_path, "run.json")
    assert [job["model_sha256"] for job in run["jobs"]] == hashes
    assert run["models"] == [{"name": "m.onnx", "source": f"sha256:{'a' * 64}", "sha256": sha256} for sha256 in hashes]


def test_the_short_form_of_the_api_is_run_again_by_curl(tmp_path: Path) -> None:
    short = {"model_url": "https://models.example/m.onnx", "jobs": [{"compute_unit": "CPU (ONNX)"}]}
    write_campaign(tmp_path, bundle([record(1, result_of(1))], recipe=short))
    text = (tmp_path / CAMPAIGN / "recipe.yaml").read_text()
    assert json.loads(text) == yaml.safe_load(text) == short
    assert "curl -d @recipe.yaml" in (tmp_path / CAMPAIGN / "report.md").read_text()


def test_devices_of_one_name_are_told_apart_in_every_file(tmp_path: Path) -> None:
    jobs = [record(number, result_of(number, 5.0 * number, worker_id=f"worker-{number}xyz")) for number in (1, 2)]
    write_campaign(tmp_path, bundle(jobs))
    labels = ["pi-5 (worker-1xyz)", "pi-5 (worker-2xyz)"]
    assert [job["device"] for job in read(tmp_path, "summary.json")["jobs"]] == labels
    assert [job["worker_id"] for job in read(tmp_path, "summary.json")["jobs"]] == ["worker-1xyz", "worker-2xyz"]
    run = read(tmp_path, "run.json")
    assert [job["device"] for job in run["jobs"]] == labels
    assert [job["hostname"] for job in run["jobs"]] == ["pi-5", "pi-5"]
    assert [entry["label"] for entry in run["workers"].values()] == labels
    page = (tmp_path / CAMPAIGN / "report.md").read_text()
    assert all(page.count(label) >= 2 for label in labels)


def test_run_json_holds_what_is_known_and_says_null_of_the_rest(tmp_path: Path) -> None:
    hardware = {"memory_mb": 8192, "cpu": {"model": "BCM2712"}}
    known = bundle([record(1, result_of(1))], user="ci", git_commit="ab" * 20, devices={"worker-abc": DeviceEntry("pi-5", hardware)})
    write_campaign(tmp_path, known)
    run = read(tmp_path, "run.json")
    assert (run["user"], run["git_commit"], run["workers"]["worker-abc"]["hardware"]) == ("ci", "ab" * 20, hardware)
    write_campaign(tmp_path, bundle([record(1, result_of(1))]))
    run = read(tmp_path, "run.json")
    assert (run["user"], run["git_commit"], run["workers"]["worker-abc"]["hardware"]) == (None, None, None)
    assert not run.keys() & {"target", "partition", "account", "num_clients"}, "what nothing fills is not there"


def test_run_json_and_the_csv_name_the_same_attempt(tmp_path: Path) -> None:
    """The result of the first attempt arrived after the second attempt had been issued."""
    late = record(1, result_of(1, attempt=1), attempt=2)
    (csv_file,) = [path for path in write_campaign(tmp_path, bundle([late])) if path.name == "results.csv"]
    assert read(tmp_path, "run.json")["jobs"][0]["attempt"] == 1
    assert list(pd.read_csv(csv_file)["Attempt"]) == [1]


def test_the_page_and_the_files_say_what_makes_a_figure_mean_less(tmp_path: Path) -> None:
    runtime = {
        "provider": "CUDAExecutionProvider",
        "provider_share": 0.75,
        "assumed_dims": {"height": 1, "width": 1},
        "warnings": ["input `image` became 1 pixel high and 1 wide"],
    }
    result = result_of(1, capability="gpu.cuda.onnx", runtime=runtime)
    assert result.summary is not None
    spent = result.model_copy(update={"summary": result.summary.model_copy(update={"stopped_because": "repeats spent: 5 of 5"})})
    workload = inference_workload(model=ModelRef(source="file:///m.onnx", name="m.onnx"), stop=StopRule(precision=0.0001, max_repeats=5))
    write_campaign(tmp_path, bundle([record(1, spent, workload=workload)]))
    caveats = [caveat["said"] for caveat in read(tmp_path, "report.json")["caveats"]]
    assert caveats[0].startswith("precision not reached: the 95 % interval is ±")
    assert caveats[0].endswith("±0.01% was asked for (repeats spent: 5 of 5).")
    assert "height=1 (assumed); width=1 (assumed)" in caveats[1]
    assert caveats[2:] == [
        "input `image` became 1 pixel high and 1 wide.",
        "75.0% of the model's nodes ran on CUDAExecutionProvider.",
    ]
    page = (tmp_path / CAMPAIGN / "report.md").read_text()
    assert "## What to keep in mind" in page
    assert "75.0% of the model's nodes ran on CUDAExecutionProvider. Job 1." in page
    job = read(tmp_path, "run.json")["jobs"][0]
    assert (job["provider"], job["provider_share"]) == ("CUDAExecutionProvider", 0.75)
    summary = read(tmp_path, "summary.json")["jobs"][0]
    assert summary["stopped_because"].startswith("precision not reached")
    assert summary["warnings"] == runtime["warnings"]
    assert summary["parameters"] == {"height": "1 (assumed)", "width": "1 (assumed)"}


def test_the_page_keeps_nothing_in_mind_where_there_is_nothing(tmp_path: Path) -> None:
    write_campaign(tmp_path, bundle([record(1, result_of(1))]))
    assert "keep in mind" not in (tmp_path / CAMPAIGN / "report.md").read_text()


def test_models_of_one_name_are_two_works_on_the_page(tmp_path: Path) -> None:
    jobs = [record(1, result_of(1, 0.002, model_sha256="aa" * 32)), record(2, result_of(2, 13.25, model_sha256="bb" * 32))]
    write_campaign(tmp_path, bundle(jobs))
    page = (tmp_path / CAMPAIGN / "report.md").read_text()
    assert "× as fast" not in page
    assert "squeezenet.onnx · sha256 aaaaaaaa" in page
    assert "squeezenet.onnx · sha256 bbbbbbbb" in page


def test_what_failed_is_told_apart_by_its_parameters(tmp_path: Path) -> None:
    def failed(number: int, batch: int) -> JobRecord:
        workload = inference_workload(model=ModelRef(source="file:///m.onnx", name="m.onnx"), options=EngineOptions(batch_size=batch))
        return record(number, status=JobStatus.FAILED, error="no memory", workload=workload)

    write_campaign(tmp_path, bundle([failed(1, 8), failed(2, 256)], varied=("options.batch_size",)))
    assert [one["work"] for one in read(tmp_path, "report.json")["failures"]] == ["m.onnx · batch_size=8", "m.onnx · batch_size=256"]


def test_the_noise_of_a_job_that_failed_is_no_noise_of_a_result(tmp_path: Path) -> None:
    noisy = Noise(grade="noisy", reasons=["throttled"], facts={})
    measured = record(1, result_of(1, 2.0, noise=noisy))
    failed = record(2, result_of(2, 2.0, noise=noisy), status=JobStatus.FAILED, error="no memory")
    write_campaign(tmp_path, bundle([measured, failed]))
    page = (tmp_path / CAMPAIGN / "report.md").read_text()
    assert "1 of 1 result is noisy: throttled." in page
    assert "while they were measured: 1 noisy." in page


def test_the_page_says_where_its_folder_is(tmp_path: Path) -> None:
    """`fleetmark report` shows the page in a terminal, where the reader cannot see the folder of the page."""
    write_campaign(tmp_path, bundle([record(1, result_of(1, 2.0))]))
    assert f"In the folder of this page, `{CAMPAIGN}` in the outputs of the orchestrator" in (tmp_path / CAMPAIGN / "report.md").read_text()


def test_the_page_counts_jobs_by_noise_and_not_machines(tmp_path: Path) -> None:
    """Both jobs ran on one machine."""
    noisy = Noise(grade="noisy", reasons=["throttled"], facts={})
    write_campaign(tmp_path, bundle([record(number, result_of(number, 2.0, noise=noisy)) for number in (1, 2)]))
    page = (tmp_path / CAMPAIGN / "report.md").read_text()
    assert "Jobs by how quiet their machine was while they were measured: 2 noisy." in page


def test_summary_json_of_one_job_without_a_latency_says_that_and_not_that_several_jobs_do_not_merge() -> None:
    """One `hardware` job is complete: nothing is there that could not be merged."""
    sheet = sheet_of("hardware")
    tail = SummaryTail(sheet)
    done = record(1, result_of(1).model_copy(update={"summary": None}), workload=Workload(spec=HardwareSpec(), repeats=3), kind="hardware")
    tail.add(done, summary_job(done, sheet, {}))
    missing = tail.content()["missing"]
    assert missing["latency_s"] == missing["requests_per_second"] == "the job that is complete has no such figure; see its entry in `jobs`"


def test_totals_of_a_load_that_counted_no_request_are_not_divided_by_zero() -> None:
    sheet = sheet_of("load")
    tail = SummaryTail(sheet)
    done = record(1, result_of(1))
    tail.add(done, {"total_requests": 0, "failed_requests": 0})
    assert tail.content()["total_requests"] == 0
