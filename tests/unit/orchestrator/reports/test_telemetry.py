from __future__ import annotations

import io
import json
import math
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.reports import telemetry
from orchestrator.reports.beside import gathered
from orchestrator.reports.inferences.figures import figure
from orchestrator.reports.outputs import write_campaign
from orchestrator.reports.plot_telemetry import is_drawn, telemetry_png
from orchestrator.reports.rows import csv_row
from orchestrator.reports.telemetry import Sampled, read_telemetry, write_telemetry
from shared.columns import Column
from shared.energy import Window
from shared.ids import job_id
from shared.protocol.messages import Result
from shared.telemetry import RUNTIME_KEY, SOURCE_KEY
from tests.sampled import UUIDS
from tests.unit.orchestrator.reports.bundles import CAMPAIGN, bundle, ended_job, record, result_of
from worker.samplers.looks import Looks
from worker.supervisor.beside import Found, beside
from worker.supervisor.telemetry_file import Phase, pack

NAN = math.nan
BEGIN = 500.0  # the time of the first sample, on the worker's monotonic clock
ONE_GPU = [
    Column("gpu0_percent", "percent", "nvml", UUIDS[0], "use", "gpu", True),
    Column("gpu0_memory_mb", "MB", "nvml", UUIDS[0], "memory", "gpu", True),
    Column("gpu0_temperature_c", "°C", "nvml", UUIDS[0], "temperature", "gpu", True),
    Column("gpu0_power_w", "W", "nvml", UUIDS[0], "power", "gpu", True),
    Column("gpu0_energy_j", "J", "nvml", UUIDS[0], "energy", "gpu", True),
]


def looks(columns: list[Column], rows: list[list[float]], gaps: list[int] | None = None, **more: Any) -> Looks:
    count = len(rows)
    times = array("d", [BEGIN + 0.1 * place for place in range(count)])
    values = [array("d", [row[place] for row in rows]) for place in range(len(columns))]
    return Looks(list(columns), times, array("d", gaps or [0] * count), values, cpu_s=0.01, started_at=1.7e9, **more)


def gpu_looks(count: int = 200, **more: Any) -> Looks:
    """Return 20 s of a GPU at 400 W, of which 15 s are measured; before that it takes 90 W and is cooler."""
    rows = []
    joules = 1e6
    for place in range(count):
        busy = place >= 30
        watts = 400.0 if busy else 90.0
        rows.append([97.0 if busy else 1.0, 5_000.0 if busy else 600.0, 66.0 if busy else 40.0, watts, joules])
        joules += watts * 0.1
    return looks(ONE_GPU, rows, **more)


WINDOWS = [Window(BEGIN + 5.0, 7.4, 1_000), Window(BEGIN + 12.5, 7.4, 1_000)]
PHASES = [
    Phase(BEGIN + 3.0, "repeat", 0, "loading"),
    Phase(BEGIN + 5.0, "repeat", 0, "measuring"),
    Phase(BEGIN + 12.4, "", 0, ""),
    Phase(BEGIN + 12.5, "repeat", 1, "measuring"),
    Phase(BEGIN + 19.9, "", 0, ""),
]


def with_figures(result: Result, found: Found) -> Result:
    """Return a result as a worker sends it after it has sampled."""
    figures, facts = found
    assert result.summary is not None
    summary = result.summary.model_copy(update={"figures": list(figures)})
    runtime = {**result.runtime, RUNTIME_KEY: facts.model_dump(mode="json"), SOURCE_KEY: facts.energy.source}
    return Result.model_validate(result.model_copy(update={"summary": summary, "runtime": runtime}).model_dump(mode="json"))


def jobs(*numbers: int) -> list[Sampled]:
    return [Sampled(job_id(CAMPAIGN, number), 1) for number in numbers]


def kept(outputs: Path, number: int, content: bytes) -> None:
    path = outputs / CAMPAIGN / "telemetry" / f"{job_id(CAMPAIGN, number)}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_the_cells_of_the_csv_are_filled() -> None:
    found = beside(gpu_looks(), WINDOWS, "gpu")
    row = csv_row(ended_job(), with_figures(result_of(), found))
    assert (row["GpuPercent"], row["GpuTemperatureMaxC"], row["PeakGpuMemoryMb"]) == (97.0, 66.0, 5_000.0)
    assert row["PowerWAverage"] == pytest.approx(400.0)
    assert row["EnergyJPerInference"] == pytest.approx(400.0 * 14.8 / 2_000, rel=1e-4)
    assert row["EnergySource"] == "counter"


def test_a_job_on_the_cpu_has_no_figures_of_a_gpu_that_stands_beside_it() -> None:
    figures, _ = beside(gpu_looks(), WINDOWS, "cpu")
    missing = {one.name: one.missing for one in figures if one.value is None}
    assert len(missing) == len(figures)
    assert missing["gpu_percent"] == "the job did not run on a GPU"
    assert missing["energy_j_per_inference"] == "nothing here shows the energy of the processor"


def test_an_older_worker_sends_nothing_and_its_cells_are_empty_with_the_reason(tmp_path: Path) -> None:
    row = csv_row(ended_job(), result_of())
    assert all(row[name] is None for name in ("GpuPercent", "PowerWAverage", "EnergyJPerInference", "PeakGpuMemoryMb", "EnergySource"))
    write_campaign(tmp_path, bundle([record(1, result_of())]))
    (job,) = json.loads((tmp_path / CAMPAIGN / "summary.json").read_text())["jobs"]
    assert job["missing"]["EnergyJPerInference"].startswith("the worker sampled nothing beside this measurement")
    page = json.loads((tmp_path / CAMPAIGN / "report.json").read_text())
    assert page["missing"][0]["jobs"] == 1
    assert "EnergyJPerInference" in page["missing"][0]["columns"]
    assert page["telemetry"] is None
    assert not (tmp_path / CAMPAIGN / "telemetry.parquet").exists()


def test_an_earlier_version_reads_a_result_with_the_new_parts() -> None:
    """The figures are in a summary, which ignores unknown keys, and the rest is in `runtime`, which may hold anything."""
    sent = with_figures(result_of(), beside(gpu_looks(), WINDOWS, "gpu")).model_dump(mode="json")
    assert "outcome" not in sent
    assert set(sent) == set(result_of().model_dump(mode="json")), "a result refuses keys that it does not know"
    assert json.loads(json.dumps(sent, allow_nan=False)) == sent


def test_the_parquet_file_opens_in_pandas_with_phases_gaps_and_reasons(tmp_path: Path) -> None:
    outputs = tmp_path
    gaps = [0] * 200
    gaps[60] = 1
    lost = Column("rapl_package_0_j", "J", "rapl", role="energy", feeds="cpu", missing="only root may read it; sudo chmod …")
    first = gpu_looks()
    first.gaps = array("d", gaps)
    first.columns.append(lost)
    first.values.append(array("d", [NAN] * 200))
    kept(outputs, 1, pack(first, PHASES))
    kept(outputs, 2, pack(looks([Column("device_cpu_percent", "percent of a core", "device")], [[50.0], [NAN], [70.0]]), []))
    path = write_telemetry(outputs / CAMPAIGN, jobs(1, 2, 3))
    assert path == outputs / CAMPAIGN / "telemetry.parquet"
    frame = pd.read_parquet(path)
    assert len(frame) == 203
    one, two = (frame[frame.job_id == job_id(CAMPAIGN, number)] for number in (1, 2))
    assert list(frame.columns[:6]) == ["job_id", "attempt", "repeat", "phase", "t", "gap"]
    assert str(frame["time_utc"].dtype) == "datetime64[us, UTC]"
    assert one.t.iloc[0] == 0.0
    assert one.gap.sum() == 1
    assert one[one.gap].t.iloc[0] == pytest.approx(6.0)
    measured = one[(one.repeat == 1) & (one.phase == "measuring")]
    assert measured.t.min() == pytest.approx(5.0)
    assert measured.t.max() < 12.4
    assert measured.gpu0_power_w.mean() == 400.0
    assert one.rapl_package_0_j.isna().all()
    assert "rapl_package_0_j: only root may read it; sudo chmod …" in one.missing.iloc[0].splitlines()
    assert two.device_cpu_percent.isna().tolist() == [False, True, False]
    assert two.gpu0_power_w.isna().all(), "a column of another device"
    assert two["repeat"].isna().all()
    schema = pq.read_schema(path)
    assert schema.field("gpu0_energy_j").metadata[b"unit"] == b"J"
    assert schema.metadata[b"fleetmark_format"] == b"1"


@pytest.mark.parametrize(("started_at", "first"), [(1.7e9, "2023-11-14 22:13:20+00:00"), (0.0, "NaT"), (-5.0, "NaT"), (1e300, "NaT")])
def test_the_wall_clock_s_time_of_a_sample_is_in_utc_and_null_where_it_is_not_known(tmp_path: Path, started_at: float, first: str) -> None:
    taken = gpu_looks()
    taken.started_at = started_at
    kept(tmp_path, 1, pack(taken, PHASES))
    path = write_telemetry(tmp_path / CAMPAIGN, jobs(1))
    assert path is not None
    times = pd.read_parquet(path).time_utc
    assert str(times.iloc[0]) == first
    if first != "NaT":
        assert (times.iloc[199] - times.iloc[0]).total_seconds() == pytest.approx(19.9)


def test_a_sampler_that_calls_a_column_as_we_do_makes_no_file_that_pandas_refuses(tmp_path: Path) -> None:
    columns = [Column(name, "W", "mine") for name in ("t", "missing", "time_utc")]
    kept(tmp_path, 1, pack(looks(columns, [[1.0, 2.0, 3.0]]), []))
    path = write_telemetry(tmp_path / CAMPAIGN, jobs(1))
    assert path is not None
    frame = pd.read_parquet(path)
    assert frame[["t", "t_sampled", "missing_sampled", "time_utc_sampled"]].iloc[0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_campaign_has_the_file_the_picture_and_one_line_about_energy(tmp_path: Path) -> None:
    kept(tmp_path, 1, pack(gpu_looks(), PHASES))
    found = beside(gpu_looks(), WINDOWS, "gpu")
    paths = write_campaign(tmp_path, bundle([record(1, with_figures(result_of(), found)), record(2, result_of(2))]))
    folder = tmp_path / CAMPAIGN
    assert folder / "telemetry.parquet" in paths
    assert len(pd.read_parquet(folder / "telemetry.parquet")) == 200
    page = (folder / "report.md").read_text()
    assert "An inference took 2.96 J of energy in 1 of 2 jobs (source: counter)." in page
    assert "(plots/telemetry.png)" in page
    with Image.open(folder / "plots" / "telemetry.png") as image:
        assert image.width > 300
    summary = json.loads((folder / "summary.json").read_text())["jobs"][0]
    assert summary["telemetry"]["energy"]["of"] == "gpu0_energy_j, gpu0_power_w"
    assert summary["telemetry"]["devices"] == {"gpu0": UUIDS[0]}
    assert summary["missing"] == {}


def test_damaged_foreign_and_late_files_are_left_out_and_the_others_are_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = pack(gpu_looks(), PHASES)
    with np.load(io.BytesIO(good)) as content:
        arrays = {name: content[name] for name in content.files}

    def damaged(**changes: Any) -> bytes:
        file = io.BytesIO()
        np.savez_compressed(file, **{**arrays, **changes})
        return file.getvalue()

    bad = [
        good[:200],
        b"no archive",
        damaged(format=np.array(99)),
        damaged(values=arrays["values"][:, 1:]),
        damaged(t=arrays["t"][::-1]),
        damaged(header=np.frombuffer(b"{}x", dtype=np.uint8)),
        damaged(values=np.array([["text"]])),
    ]
    kept(tmp_path, 1, good)
    for number, content in enumerate(bad, start=2):
        kept(tmp_path, number, content)
    path = write_telemetry(tmp_path / CAMPAIGN, jobs(*range(1, 20)))
    assert path is not None
    assert set(pd.read_parquet(path).job_id) == {job_id(CAMPAIGN, 1)}
    assert caplog.text.count("cannot be read") >= len(bad)
    monkeypatch.setattr(telemetry, "MAX_BYTES", 100)
    assert read_telemetry(tmp_path / CAMPAIGN, job_id(CAMPAIGN, 1)) is None


def test_a_file_of_an_earlier_time_goes_when_no_job_has_telemetry_any_more(tmp_path: Path) -> None:
    kept(tmp_path, 1, pack(gpu_looks(), PHASES))
    folder = tmp_path / CAMPAIGN
    assert write_telemetry(folder, jobs(1)) is not None
    assert write_telemetry(folder, jobs(7)) is None
    assert not (folder / "telemetry.parquet").exists()


def test_only_some_jobs_are_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "GROUP_ROWS", 450)
    for number in range(1, 8):
        kept(tmp_path, number, pack(gpu_looks(), PHASES))
    path = write_telemetry(tmp_path / CAMPAIGN, jobs(*range(1, 8)))
    assert path is not None
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(place).num_rows for place in range(file.metadata.num_row_groups)] == [600, 600, 200]


def test_a_line_breaks_at_a_gap_and_too_few_samples_are_not_drawn(tmp_path: Path) -> None:
    kept(tmp_path, 1, pack(gpu_looks(), PHASES))
    kept(tmp_path, 2, pack(gpu_looks(5), PHASES))
    found, few = (read_telemetry(tmp_path / CAMPAIGN, job_id(CAMPAIGN, number)) for number in (1, 2))
    assert found is not None
    assert few is not None
    assert is_drawn(found)
    assert not is_drawn(few)
    assert telemetry_png([("a job", found)], "a campaign") == telemetry_png([("a job", found)], "a campaign")


def test_reasons_are_said_once_with_how_many_jobs_they_are_of() -> None:
    measured = [figure(record(number, result_of(number))).energy for number in range(1, 4)]
    (reason,) = gathered([job for job in measured if job is not None])
    assert reason["jobs"] == 3
