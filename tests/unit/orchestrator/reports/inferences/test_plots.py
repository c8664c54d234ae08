"""Tests that each plot is drawn if there are data for it, and that bad files are left out."""

from __future__ import annotations

import io
import json
import logging
import shutil
import zipfile
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.reports.inferences.answers import answers
from orchestrator.reports.inferences.plot_tradeoff import is_drawn, tradeoff_png
from orchestrator.reports.inferences.raw_samples import read_repeats
from orchestrator.reports.outputs import write_campaign
from shared.measurements import SAMPLES_FORMAT
from shared.protocol.messages import Device
from shared.series import Record, Series
from tests.unit.orchestrator.reports.bundles import CAMPAIGN, bundle
from tests.unit.orchestrator.reports.sweeps import VARIED, cell, figures
from worker.supervisor.samples import pack

SWEEP = [cell(1, 40.0), cell(2, 160.0, batch=8), cell(3, 25.0, threads=2), cell(4, 120.0, batch=8, threads=2)]


def recorded(load_ns: int, warmup_ns: Sequence[int] = (), inference_ns: Sequence[int] = ()) -> Record:
    found = {"load": [load_ns], "warmup": warmup_ns, "inference": inference_ns}
    return Record(series={name: Series(name, values=array("q", values)) for name, values in found.items()})


def keep_samples(folder: Path, job_id: str, repeats: int = 6) -> None:
    random = np.random.default_rng(1)
    raw = [recorded(1_000_000, [1], (random.lognormal(2, 0.2, 40) * 1e6).astype(int).tolist()) for _ in range(repeats)]
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    (folder / "samples" / f"{job_id}.npz").write_bytes(pack(raw, [], "load"))


def test_a_sweep_has_its_trade_off_first_and_the_samples_of_its_jobs(tmp_path: Path) -> None:
    folder = tmp_path / CAMPAIGN
    for job in SWEEP[:2]:
        keep_samples(folder, job.job_id)
    paths = write_campaign(tmp_path, bundle(SWEEP, varied=VARIED))
    names = [path.relative_to(folder).as_posix() for path in paths if path.suffix == ".png"]
    assert sorted(names) == ["plots/medians.png", "plots/samples.png", "plots/tradeoff.png"]
    for name in names:
        with Image.open(folder / name) as image:
            assert image.width > 800
    page = (folder / "report.md").read_text()
    content = json.loads((folder / "report.json").read_text())
    assert [one["file"] for one in content["pictures"]] == ["plots/tradeoff.png", "plots/medians.png", "plots/samples.png"]
    begin = page.index("## The answer")
    assert page[begin:].index("for latency, ") < page[begin:].index("(plots/tradeoff.png)") < page[begin:].index("| 1 | ")
    assert page.count(" ◆ |") == sum(one["on_front"] for one in content["answers"][0]["ranking"]) == 2
    first = {path: path.read_bytes() for path in paths}
    assert {path: path.read_bytes() for path in write_campaign(tmp_path, bundle(SWEEP, varied=VARIED))} == first


def test_the_page_says_what_a_sample_costs_and_by_which_price(tmp_path: Path) -> None:
    priced = Device(name="pi-5", price_per_hour=0.36)
    write_campaign(tmp_path, bundle([cell(1, 40.0, device=priced), cell(2, 160.0, batch=8, device=priced)], varied=VARIED))
    page = (tmp_path / CAMPAIGN / "report.md").read_text()
    assert "| cost of 1 000 |" in page
    assert "0.36 an hour by FLEETMARK\\_WORKER\\_PRICE\\_PER\\_HOUR" in page
    write_campaign(tmp_path, bundle(SWEEP, varied=VARIED))
    assert "cost of 1 000" not in (tmp_path / CAMPAIGN / "report.md").read_text()


def test_one_batch_has_no_trade_off_to_draw() -> None:
    assert not is_drawn(answers(figures(cell(1, 40.0), cell(2, 20.0, threads=2)))[0])
    assert is_drawn(answers(figures(*SWEEP))[0])


@pytest.mark.parametrize("count", [2, 60])
def test_a_trade_off_of_many_points_and_strange_names_is_drawn(count: int) -> None:
    jobs = [cell(n, 10.0 * n, batch=n, device=Device(name="$\\bad{ \x1b name")) for n in range(1, count + 1)]
    (answer,) = answers(figures(*jobs))
    with Image.open(io.BytesIO(tradeoff_png(answer, "$\\bad{ title"))) as image:
        assert image.format == "PNG"


def test_samples_that_cannot_be_read_are_left_out_with_a_word_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "samples").mkdir()
    assert read_repeats(tmp_path, "job-1") == []
    assert caplog.records == []
    (tmp_path / "samples" / "job-1.npz").write_bytes(b"PK\x03\x04 not a whole file")
    newer = io.BytesIO()
    np.savez(newer, format=np.array(99))
    (tmp_path / "samples" / "job-2.npz").write_bytes(newer.getvalue())
    with caplog.at_level(logging.WARNING):
        assert read_repeats(tmp_path, "job-1") == read_repeats(tmp_path, "job-2") == []
    assert "job-1.npz cannot be drawn" in caplog.text
    assert "format 99" in caplog.text


def test_samples_are_read_in_the_order_of_the_repeats_and_in_milliseconds(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    raw = [recorded(1, [9], [index * 1_000_000 + 500_000]) for index in range(12)]
    (tmp_path / "samples" / "job-1.npz").write_bytes(pack(raw, [recorded(5)], "load"))
    assert [values.tolist() for values in read_repeats(tmp_path, "job-1")] == [[index + 0.5] for index in range(12)]


def test_samples_that_the_version_before_wrote_are_read(tmp_path: Path) -> None:
    """The samples in this file were written by the previous version, with three repeats of five inferences and two further loads."""
    written = Path(__file__).with_name("samples_format_1.npz")
    (tmp_path / "samples").mkdir()
    shutil.copy(written, tmp_path / "samples" / "job-1.npz")
    assert [values.tolist() for values in read_repeats(tmp_path, "job-1")] == [
        [6.532188, 2.106447, 1.213387, 2.003924, 1.001141],
        [1.001452, 2.002042, 1.001802, 8.55559, 1.001492],
        [1.001361, 4.753138, 1.002523, 2.000889, 4.991072],
    ]


def test_the_file_of_samples_names_each_series_with_its_unit() -> None:
    one = Record(series={"load": Series("load", values=array("q", [7])), "energy": Series("energy", "mJ", array("q", [2**62, 3]))})
    with np.load(io.BytesIO(pack([one, one], [recorded(8), recorded(9)], "load"))) as arrays:
        assert {name: arrays[name].tolist() for name in arrays.files} == {
            "format": SAMPLES_FORMAT,
            "repeat_0_load_ns": [7],
            "repeat_0_energy_mJ": [2**62, 3],
            "repeat_1_load_ns": [7],
            "repeat_1_energy_mJ": [2**62, 3],
            "extra_load_ns": [8, 9],
        }


def test_an_archive_with_a_damaged_byte_is_read_as_it_was_or_not_at_all(tmp_path: Path) -> None:
    """Damage may break the zip's directory, the compressed stream, the method of compression or the header of an array."""
    keep_samples(tmp_path, "job-1", repeats=1)
    path = tmp_path / "samples" / "job-1.npz"
    whole, (values,) = path.read_bytes(), read_repeats(tmp_path, "job-1")
    unread = 0
    for offset in range(0, len(whole), 2):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0xFF]) + whole[offset + 1 :])
        found = read_repeats(tmp_path, "job-1")
        assert [one.tolist() for one in found] in ([], [values.tolist()]), offset
        unread += not found
    assert unread > len(whole) // 8


@pytest.mark.parametrize("shape", [(3, 4), (10**14,)], ids=["two dimensions", "more values than any memory holds"])
def test_an_array_that_is_no_list_of_times_costs_the_picture_and_not_the_page(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shape: tuple[int, ...]
) -> None:
    job = cell(1, 40.0)
    version, times = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(version, np.array(SAMPLES_FORMAT))
    np.lib.format.write_array_header_1_0(times, {"descr": "<i8", "fortran_order": False, "shape": shape})
    (tmp_path / CAMPAIGN / "samples").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / CAMPAIGN / "samples" / f"{job.job_id}.npz", "w") as archive:
        archive.writestr("format.npy", version.getvalue())
        archive.writestr("repeat_0_inference_ns.npy", times.getvalue() + np.ones(12, dtype="<i8").tobytes())
    names = [path.name for path in write_campaign(tmp_path, bundle([job]))]
    assert "report.md" in names
    assert "samples.png" not in names
    assert f"{job.job_id}.npz cannot be drawn" in caplog.text
