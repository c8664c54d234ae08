"""Tests that every sampler, including the fake one, keeps its promises to the process that samples."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import sampled
from tests.servers import PostgresServer, RedisServer, server_folder
from worker.samplers.base import Place, Sampler, Vanished
from worker.samplers.registry import SAMPLERS, default_samplers, lack_of, make

Make = Callable[[Path], Place]


def fake(root: Path) -> Place:
    (root / "fake-sampler.json").write_text(json.dumps({"columns": [{"name": "x", "unit": "W"}], "values": [[1.0]]}))
    return Place(root)


def powercap(root: Path) -> Place:
    sampled.powercap(root)
    return Place(root)


def rails(root: Path) -> Place:
    sampled.jetson(root)
    return Place(root)


def battery(root: Path) -> Place:
    sampled.battery(root)
    return Place(root)


CASES: dict[str, Make] = {
    "processes": lambda _: Place(guard=os.getppid()),
    "device": lambda _: Place(),
    "cpu": lambda root: Place(sampled.processor(root)),
    "nvml": lambda root: Place(sampled.with_driver(root)),
    "rapl": powercap,
    "hwmon": rails,
    "battery": battery,
    "fake": fake,
}
WITH_SOURCES_IN_FILES = ("rapl", "hwmon", "battery", "cpu")


@pytest.fixture(autouse=True)
def nvml(monkeypatch: pytest.MonkeyPatch) -> sampled.NvmlDouble:
    double = sampled.NvmlDouble(sampled.FakeGpu(sampled.UUIDS[0]), sampled.FakeGpu(sampled.UUIDS[1]))
    monkeypatch.setitem(sys.modules, "pynvml", double)
    return double


@pytest.fixture(scope="module")
def redis() -> Iterator[Place]:
    with server_folder() as folder:
        server = RedisServer(folder, append_only=False)
        server.start()
        yield Place(service="redis", service_address=f"redis://{server.place}")
        server.stop()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Place]:
    with server_folder() as folder:
        server = PostgresServer(folder)
        server.start()
        yield Place(service="postgres", service_address=f"postgresql://127.0.0.1:{server.port}", service_settings={"db_name": "postgres"})
        server.stop()


SERVICES = ("redis", "postgres")


@pytest.fixture(params=[*CASES, "prometheus", "redis", pytest.param("postgres", marks=pytest.mark.long)])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Place]]:
    name: str = request.param
    if name in SERVICES:
        yield name, request.getfixturevalue(name)
        return
    if name != "prometheus":
        yield name, CASES[name](tmp_path)
        return
    with sampled.metrics_page() as served:
        yield name, Place(tmp_path, metrics_url=served.url)


@pytest.fixture
def opened(case: tuple[str, Place]) -> Iterator[Sampler]:
    sampler = make(*case)
    yield sampler
    sampler.close()


def test_every_sampler_is_tried_here() -> None:
    assert set(SAMPLERS) == {*CASES, "prometheus", *SERVICES}
    assert "fake" not in default_samplers()


def test_it_says_that_there_is_something_to_read(case: tuple[str, Place]) -> None:
    assert lack_of(*case) is None


def test_every_column_has_a_name_of_its_own_a_unit_and_a_value_in_each_reading(case: tuple[str, Place], opened: Sampler) -> None:
    columns = opened.open()
    names = [column.name for column in columns]
    assert names
    assert len(set(names)) == len(names)
    assert all(column.unit and column.source == case[0] for column in columns)
    for _ in range(3):
        assert len(opened.read()) == len(columns)


def test_a_column_is_null_only_with_a_reason_or_at_the_moment(opened: Sampler) -> None:
    columns = opened.open()
    readings = [opened.read() for _ in range(3)]
    reasons = opened.missing()
    for place, column in enumerate(columns):
        if column.missing or column.name in reasons:
            assert all(values[place] is None for values in readings)
    assert any(value is not None for values in readings for value in values)


def test_what_it_says_can_be_sent_as_json(opened: Sampler) -> None:
    columns = opened.open()
    from dataclasses import asdict

    assert json.loads(json.dumps([asdict(column) for column in columns], allow_nan=False))
    json.dumps([opened.read(), dict(opened.missing())], allow_nan=False)


def test_it_may_be_closed_before_it_is_opened_and_more_than_once(case: tuple[str, Place]) -> None:
    sampler = make(*case)
    sampler.close()
    sampler.close()


def test_energy_only_grows_and_energy_and_power_say_what_they_are_of(opened: Sampler) -> None:
    columns = opened.open()
    readings = [opened.read() for _ in range(4)]
    for place, column in enumerate(columns):
        if column.role in ("energy", "power"):
            assert column.unit == ("J" if column.role == "energy" else "W")
        if column.role == "energy":
            values = [values[place] for values in readings if values[place] is not None]
            assert values == sorted(values, key=lambda value: value or 0.0)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"processes", "device", "cpu"}))
def test_where_there_is_nothing_it_says_why_and_opens_nothing(name: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    lack = lack_of(name, Place(empty))
    assert lack is not None
    assert len(lack.reason) > 10
    with pytest.raises(Vanished, match=r"\w+ \w+"):
        make(name, Place(empty)).open()


@pytest.mark.parametrize("name", WITH_SOURCES_IN_FILES)
def test_files_that_vanish_become_null_and_raise_nothing(name: str, tmp_path: Path) -> None:
    place = CASES[name](tmp_path)
    sampler = make(name, place)
    columns = sampler.open()
    sampler.read()
    for file in sorted((tmp_path / "sys").rglob("*")):
        if file.is_file():
            file.write_text("")  # the kernel shows a removed device in this way: the file is open, and reading it gives nothing
    values = sampler.read()
    assert len(values) == len(columns)
    assert all(value is None for value in values)
    sampler.close()


def test_a_library_that_is_missing_is_said_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.samplers.registry.find_spec", lambda _: None)
    lack = lack_of("nvml", Place())
    assert lack is not None
    assert str(lack) == "the library pynvml is not installed"
    with pytest.raises(Vanished, match="pynvml is not installed"):
        make("nvml", Place())
