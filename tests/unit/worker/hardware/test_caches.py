from __future__ import annotations

from pathlib import Path

import pytest

from worker.hardware.caches import ASSUMED_BYTES, read_last_level_cache


def cache(cpus: Path, cpu: int, index: int, *, level: int, size: str, shared: str, kind: str = "Unified") -> None:
    folder = cpus / f"cpu{cpu}/cache/index{index}"
    folder.mkdir(parents=True)
    for name, text in {"level": str(level), "size": size, "type": kind, "shared_cpu_list": shared}.items():
        (folder / name).write_text(text + "\n")


def test_caches_that_cpus_share_count_once_and_those_of_two_sockets_both(tmp_path: Path) -> None:
    for cpu, shared in enumerate(["0-1", "0-1", "2-3", "2-3"]):
        cache(tmp_path, cpu, 0, level=1, size="32K", shared=str(cpu), kind="Data")
        cache(tmp_path, cpu, 1, level=2, size="1024K", shared=str(cpu))
        cache(tmp_path, cpu, 2, level=3, size="32768K", shared=shared)
    found = read_last_level_cache(tmp_path)
    assert found.size_bytes == 64 * 2**20
    assert found.source.startswith("level 3 of ")


def test_a_board_whose_last_level_is_the_second_has_that(tmp_path: Path) -> None:
    for cpu in range(4):
        cache(tmp_path, cpu, 0, level=1, size="48K", shared=str(cpu), kind="Instruction")
        cache(tmp_path, cpu, 1, level=2, size="1M", shared="0-3")
    assert read_last_level_cache(tmp_path).size_bytes == 2**20


@pytest.mark.parametrize("size", ["", "big", "-1K"])
def test_where_the_system_says_nothing_a_size_is_assumed_and_said(tmp_path: Path, size: str) -> None:
    cache(tmp_path, 0, 0, level=3, size=size, shared="0")
    found = read_last_level_cache(tmp_path)
    assert found.size_bytes == ASSUMED_BYTES
    assert found.source.startswith("assumed, because ")
