"""Tests the small parts of the runner: limited output, the counter of the memory killer, records, and the timed loop."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from array import array
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns

import pytest

from shared.series import Phase, Record, Series
from worker.interpreter import ROOT, runner_command
from worker.measured.hot_loop import time_calls, time_calls_undisturbed
from worker.runner.guard import preload
from worker.runner.oom import oom_kills
from worker.runner.plan import plan_for
from worker.runner.record_file import Unwritten, read_record, write_record
from worker.runner.tail import LIMIT, Tail

MODULES = ",".join(plan_for("inference", "cpu.onnx").preload)


def test_a_short_output_is_kept_whole() -> None:
    tail = Tail()
    tail.feed(b"one\n")
    tail.feed(b"two\n")
    assert tail.text() == "one\ntwo"


def test_of_a_long_output_the_last_whole_lines_are_kept_and_the_rest_is_counted() -> None:
    tail = Tail()
    for number in range(10_000):
        tail.feed(f"line {number}\n".encode())
    first, *lines = tail.text().splitlines()
    assert first == f"[… {tail.total - LIMIT} bytes before this left out]"
    assert lines[-1] == "line 9999"
    assert all(line.startswith("line ") for line in lines)
    assert len(tail.text()) < LIMIT + 100


def test_bytes_that_are_no_text_do_no_harm() -> None:
    tail = Tail()
    tail.feed(b"\xff\xfe broken \x00")
    assert "broken" in tail.text()


@pytest.mark.parametrize(
    ("cgroup", "file", "content"),
    [
        ("0::/job\n", "job/memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("0::/gone\n", "memory.events", "oom_kill 2\n"),  # a container sees its own group as the root
        ("4:memory:/job\n1:cpu:/x\n", "memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
    ids=["version 2", "version 2 in a container", "version 1"],
)
def test_the_memory_killers_counter_is_found(tmp_path: Path, cgroup: str, file: str, content: str) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / "sys" / file).parent.mkdir(parents=True)
    (tmp_path / "sys" / file).write_text(content)
    assert oom_kills(tmp_path / "cgroup", tmp_path / "sys") == 2


def test_where_nothing_counts_kills_nothing_is_said(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "missing", tmp_path) is None
    (tmp_path / "cgroup").write_text("0::/job\n")
    assert oom_kills(tmp_path / "cgroup", tmp_path) is None


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "1.record"
    assert read_record(path, 0) is None
    written = Record(
        phases={"load": Phase("load", 5, peak_mb=1.5), "inference": Phase("inference", 2**62, 7)},
        series={
            "warmup": Series("warmup", values=array("q", [1, 2])),
            "nothing": Series("nothing", "count"),
            "energy": Series("energy", "mJ", array("q", [3, -4, 2**62])),
        },
        facts={"runtime": {"name": "x\n"}},
    )
    write_record(path, written)
    assert read_record(path, 0) == written
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exit_code", [1, None])
def test_what_a_process_wrote_before_it_died_is_no_record(tmp_path: Path, exit_code: int | None) -> None:
    path = tmp_path / "1.record"
    write_record(path, Record(series={"inference": Series("inference", values=array("q", range(9)))}))
    path.write_bytes(path.read_bytes()[:-20])
    assert read_record(path, exit_code) is None


def test_nothing_is_left_of_a_record_for_which_there_was_no_room(tmp_path: Path) -> None:
    path = tmp_path / "1.record"
    path.symlink_to("/dev/full")  # whatever is written there meets a full disk
    with pytest.raises(Unwritten, match="No space left"):
        write_record(path, Record(series={"inference": Series("inference", values=array("q", range(9)))}))
    assert list(tmp_path.iterdir()) == []
    assert Path("/dev/full").exists()


def test_a_million_samples_cost_eight_bytes_each(tmp_path: Path) -> None:
    """A list of Python integers would take about 40 MB: 8 bytes for each place and 32 for each number."""
    path = tmp_path / "1.record"
    samples = Series("inference", values=array("q", range(2**40, 2**40 + 1_000_000)))
    write_record(path, Record(series={"inference": samples}))
    tracemalloc.start()
    record = read_record(path, 0)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert record is not None
    assert record.series["inference"].values[-1] == 2**40 + 999_999
    assert kept < 10 * 2**20


def garbage() -> object:
    """Is part of a reference cycle, which only the garbage collector can free. Enough cycles make the collector run."""
    cycles: list[list[object]] = [[] for _ in range(50)]
    for cycle in cycles:
        cycle.append(cycle)
    return None


def test_the_collector_never_runs_within_the_timed_calls_and_does_again_after_them() -> None:
    collections = 0

    def count(phase: str, _: object) -> None:
        nonlocal collections
        collections += phase == "start"

    during: list[int] = []

    def call() -> None:
        garbage()
        during.append(collections)

    gc.callbacks.append(count)
    try:
        for _ in range(1000):
            garbage()
        assert collections > 0, "the garbage of these calls does not make the collector run, so this test would prove nothing"
        time_calls_undisturbed(call, array("q", bytes(8 * 1000)))
    finally:
        gc.callbacks.remove(count)
    assert during[0] == during[-1], "the collector ran between two timed calls"
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_the_hot_loop_fills_every_place_and_spans_them_all() -> None:
    stamps: list[int] = []
    samples = array("q", bytes(8 * 100))
    wall = time_calls(lambda: stamps.append(perf_counter_ns()), samples)
    assert len(stamps) == 100
    assert all(sample > 0 for sample in samples)
    assert sum(samples) <= wall
    assert all(between > 0 for between in (later - earlier for earlier, later in pairwise(stamps)))
    assert stamps[-1] - stamps[0] <= wall


@pytest.mark.parametrize("arguments", [[MODULES], [MODULES, "--spawn"], [MODULES, "--once"]])
def test_a_guard_or_runner_whose_commands_end_ends_itself(arguments: list[str]) -> None:
    finished = subprocess.run(runner_command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, cwd="/")
    assert finished.returncode == 0
    assert finished.stderr == b""


def test_a_guard_takes_nothing_from_the_folder_it_is_started_in(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    finished = subprocess.run(runner_command(MODULES), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert b'"preloaded": ["numpy", "onnxruntime"' in finished.stdout


@pytest.mark.parametrize("mistake", ["import no_such_module", "no_such_name", "raise SystemExit(3)"])
def test_a_guard_lives_although_a_plug_in_cannot_be_imported(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_engine.py").write_text(mistake)
    monkeypatch.syspath_prepend(tmp_path)
    assert preload(["broken_engine", "json"]) == ["json"]


def test_a_worker_without_a_job_has_no_runtime_and_no_numpy_in_memory() -> None:
    heavy = {"onnxruntime", "numpy", "onnx", "httpx"}
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import worker.engines.registry, worker.supervisor; "
    code += f"print({heavy} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert finished.stdout.strip() == "set()", finished.stderr
