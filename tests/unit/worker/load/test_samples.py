"""Tests that samples that take little memory say the same as numpy does with all values at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.request_records import CLOSED, OPEN, record_type
from shared.stats import describe
from worker.load.figures import outcome_of
from worker.load.phases import Measured
from worker.load.records import BLOCK, RecordFile
from worker.load.samples import Sample, latencies_ms


def latencies_ns(count: int, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).lognormal(12, 0.5, count).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 700, 7_000])
def test_a_sample_is_described_as_its_values_are_by_numpy(count: int) -> None:
    values = latencies_ns(count)
    found = Sample.of([values[: count // 3], values[count // 3 :]], count).distribution([1.0, 2.0])
    known = describe(values.astype(float) / 1e6, [1.0, 2.0])
    for name in type(known).model_fields:
        assert getattr(found, name) == (
            pytest.approx(getattr(known, name), rel=1e-6) if isinstance(getattr(known, name), float) else getattr(found, name)
        ), name
    assert (found.n, found.missing, found.outliers, found.median_ci) == (known.n, known.missing, known.outliers, known.median_ci)
    assert (found.median_ci_within is None) == (known.median_ci_within is None)
    if found.median_ci_within and known.median_ci_within:
        assert found.median_ci_within.low == pytest.approx(known.median_ci_within.low, rel=1e-6)


def test_samples_of_repeats_are_merged_and_never_averaged() -> None:
    blocks = [latencies_ns(500, seed) * scale for seed, scale in ((1, 1.0), (2, 3.0))]
    merged = Sample.merged([Sample.of([block], 500) for block in blocks])
    assert merged.percentile_ms(99) == pytest.approx(np.percentile(np.concatenate(blocks).astype(float), 99) / 1e6, rel=1e-6)
    assert merged.first == blocks[0][0]


def test_records_in_files_give_the_figures_of_records_in_memory(tmp_path: Path) -> None:
    """The file of one client is longer than a block, so that blocks have to be put together."""
    records = np.zeros(BLOCK + 1_000, record_type())
    records["scheduled"] = np.arange(len(records)) * 10_000 - 50_000_000
    records["delay"], records["last"], records["first"] = 5_000, latencies_ns(len(records)), 1_000
    records["failure"][::1_000], records["operation"][::3] = CLOSED, 1
    records["failure"][-3:], records["last"][-1] = OPEN, np.nan
    files = []
    for client, part in enumerate((records[:900], records[900:])):
        part.tofile(tmp_path / str(client))
        files.append(RecordFile(tmp_path / str(client), len(part)))
    asked = {"service_type": "redis", "operations": ["get", "set"], "concurrency": 2, "ceiling_per_s": 1e9}
    for duration_s, open_loop in ((1.0, True), (None, False)):
        in_files, in_memory = Measured("all", tuple(files), duration_s, open_loop), Measured("all", records, duration_s, open_loop)
        assert outcome_of([[in_files]], **asked) == outcome_of([[in_memory]], **asked)  # type: ignore[arg-type]
        assert latencies_ms([in_files]).tolist() == latencies_ms([in_memory]).tolist()


def test_requests_that_were_in_flight_when_a_phase_was_ended_are_neither_failures_nor_answers() -> None:
    records = np.zeros(10, record_type())
    records["scheduled"], records["last"] = np.arange(10) * 1_000_000, 500_000
    records["failure"][8:] = OPEN
    found = outcome_of(
        [[Measured("all", records, 0.01, False)]], service_type="redis", operations=["get"], concurrency=2, ceiling_per_s=1e9
    )
    assert (found.figure("error_count").value, found.figure("success_rate").value) == (0, 100)  # type: ignore[union-attr]
    assert (found.detail["requests"], found.detail["apart"]["open_at_the_end"]) == (8, 2)
