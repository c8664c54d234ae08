"""Tests counters and rails against folders as Linux shows them, because the machines of the tests have none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.columns import Column
from tests import sampled
from worker.samplers.base import Place, Sampler
from worker.samplers.rapl import ALLOW
from worker.samplers.registry import lack_of, make


def opened(name: str, root: Path) -> tuple[Sampler, Sequence[Column]]:
    sampler = make(name, Place(root))
    return sampler, sampler.open()


def test_a_package_and_its_memory_are_counted_and_its_cores_are_not_counted_twice(tmp_path: Path) -> None:
    zone = sampled.powercap(tmp_path)
    sampler, columns = opened("rapl", tmp_path)
    assert [column.name for column in columns] == ["rapl_package_0_j", "rapl_package_0_dram_j"]
    assert all((column.role, column.feeds, column.step_s) == ("energy", "cpu", 0.001) for column in columns)
    sampler.read()
    sampled.put(zone / "energy_uj", 3_500_000)
    assert sampler.read() == [2.5, 0.0]


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    zone = sampled.powercap(tmp_path, uj=262_000_000_000, range_uj=262_143_328_850)
    sampler, _ = opened("rapl", tmp_path)
    sampler.read()
    sampled.put(zone / "energy_uj", 856_671_150)
    assert sampler.read()[0] == pytest.approx(1_000.0)
    sampled.put(zone / "energy_uj", 956_671_150)
    assert sampler.read()[0] == pytest.approx(1_100.0)


def test_a_package_is_counted_once_however_many_links_lead_to_it(tmp_path: Path) -> None:
    """Linux shows each zone in its parent and beside it. A loop of links is no zone."""
    zone = sampled.powercap(tmp_path)
    (zone.parent / "intel-rapl:0:1").symlink_to(zone / "intel-rapl:0:1")
    (zone.parent / "intel-rapl:7").symlink_to(zone)
    (zone.parent / "intel-rapl:8").symlink_to(zone.parent / "intel-rapl:8")
    (zone / "intel-rapl:0:9").symlink_to(zone)
    _, columns = opened("rapl", tmp_path)
    assert [column.name for column in columns] == ["rapl_package_0_j", "rapl_package_0_dram_j"]


@pytest.mark.parametrize(("counts", "zones"), [((7_000_000, 7_000_000), ["die_0"]), ((7_000_000, 9_000_000), ["die_0", "die_1"])])
def test_dies_that_show_the_counter_of_their_socket_are_counted_once(tmp_path: Path, counts: tuple[int, int], zones: list[str]) -> None:
    """On some processors of AMD each die has a zone with the same counter; the sum would be twice the energy of the socket."""
    for number, count in enumerate(counts):
        zone = tmp_path / f"sys/class/powercap/intel-rapl:{number}"
        for file, content in (("name", f"package-0-die-{number}"), ("energy_uj", count), ("max_energy_range_uj", 65_532_610_987)):
            sampled.put(zone / file, content)
    _, columns = opened("rapl", tmp_path)
    assert [column.name for column in columns] == [f"rapl_package_0_{die}_j" for die in zones]


def test_two_packages_with_the_same_name_have_columns_of_their_own(tmp_path: Path) -> None:
    zone = sampled.powercap(tmp_path)
    shutil.copytree(zone, zone.parent / "intel-rapl:1")
    _, columns = opened("rapl", tmp_path)
    assert len({column.name for column in columns}) == len(columns) == 4


@pytest.mark.parametrize("shown", ["nan", "inf", "-inf", ""])
def test_a_counter_that_shows_no_number_has_ended_with_that_reason(tmp_path: Path, shown: str) -> None:
    zone = sampled.powercap(tmp_path)
    sampler, _ = opened("rapl", tmp_path)
    sampler.read()
    sampled.put(zone / "energy_uj", shown)
    assert sampler.read() == [None, 0.0]
    assert f"it holds {shown!r}, which is no number" in sampler.missing()["rapl_package_0_j"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_counter_that_only_root_may_read_is_null_with_the_command_that_mends_it(tmp_path: Path) -> None:
    sampled.powercap(tmp_path)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(0o755)
    for file in tmp_path.rglob("energy_uj"):
        file.chmod(0o400)
    os.seteuid(65_534)
    try:
        sampler, columns = opened("rapl", tmp_path)
        lack = lack_of("rapl", Place(tmp_path))
        values = sampler.read()
    finally:
        os.seteuid(0)
    assert lack is not None
    assert ALLOW in lack.mend
    assert values == [None, None]
    assert all(column.missing.startswith("only root may read") and ALLOW in column.missing for column in columns)


def test_a_counter_beside_one_that_cannot_be_read_is_not_taken_for_the_energy_of_the_processor(tmp_path: Path) -> None:
    """With two packages, the energy of an inference would be half of what it is."""
    zone = sampled.powercap(tmp_path)
    other = zone.parent / "intel-rapl:1"
    sampled.put(other / "name", "package-1")
    (other / "energy_uj").mkdir()
    sampler, columns = opened("rapl", tmp_path)
    assert [(column.name, column.role) for column in columns] == [
        ("rapl_package_0_j", "value"),
        ("rapl_package_0_dram_j", "value"),
        ("rapl_package_1_j", "energy"),
    ]
    assert "cannot be read" in columns[2].missing
    assert sampler.read() == [0.0, 0.0, None]
    assert "energy_uj cannot be read" in str(lack_of("rapl", Place(tmp_path)))


def test_the_powers_of_two_gpus_with_the_same_label_belong_to_two_devices(tmp_path: Path) -> None:
    """A board's own GPU and a card are both called PPT. As one device, their powers would be added up."""
    for number, slot in ((0, "0000:03:00.0"), (1, "0000:0b:00.0")):
        folder = tmp_path / f"sys/class/hwmon/hwmon{number}"
        sampled.put(folder / "name", "amdgpu")
        sampled.put(folder / "power1_label", "PPT")
        sampled.put(folder / "power1_average", 10_000_000)
        (tmp_path / slot).mkdir()
        (folder / "device").symlink_to(tmp_path / slot)
    _, columns = opened("hwmon", tmp_path)
    assert [(column.feeds, column.device) for column in columns] == [("gpu", "0000:03:00.0"), ("gpu", "0000:0b:00.0")]


def test_a_counter_that_vanishes_is_null_from_then_on(tmp_path: Path) -> None:
    zone = sampled.powercap(tmp_path)
    sampler, _ = opened("rapl", tmp_path)
    sampler.read()
    (zone / "energy_uj").write_text("")
    assert sampler.read() == [None, 0.0]
    sampled.put(zone / "energy_uj", 9_000_000)
    assert sampler.read() == [None, 0.0]
    assert "could not be read any more" in sampler.missing()["rapl_package_0_j"]


def test_the_rail_that_feeds_a_board_is_told_from_its_parts(tmp_path: Path) -> None:
    sampled.jetson(tmp_path)
    sampler, columns = opened("hwmon", tmp_path)
    assert [(column.name, column.feeds) for column in columns] == [
        ("hwmon_ina3221_vdd_in_w", "board"),
        ("hwmon_ina3221_vdd_cpu_gpu_cv_w", ""),
    ]
    assert sampler.read() == pytest.approx([10.0, 4.5])


def test_a_power_meter_and_an_energy_of_a_chip_are_read_in_watts_and_joules(tmp_path: Path) -> None:
    folder = tmp_path / "sys/class/hwmon/hwmon3"
    for name, value in (
        ("name", "power_meter"),
        ("power1_average", 180_000_000),
        ("energy1_input", 5_000_000),
        ("power1_input", 181_000_000),
    ):
        sampled.put(folder / name, value)
    sampler, columns = opened("hwmon", tmp_path)
    assert [(column.name, column.role, column.feeds) for column in columns] == [
        ("hwmon_power_meter_power1_w", "power", "board"),
        ("hwmon_power_meter_energy1_j", "energy", "board"),
    ]
    assert sampler.read() == [181.0, 5.0]


@pytest.mark.parametrize(
    ("files", "watts", "joules"),
    [
        ({"power_now": 12_500_000, "energy_now": 40_000_000}, 12.5, 360.0),
        ({"current_now": -1_000_000, "voltage_now": 12_000_000, "charge_now": 4_000_000, "voltage_min_design": 11_400_000}, 12.0, 410.4),
    ],
)
def test_a_battery_gives_power_and_the_energy_since_the_start(tmp_path: Path, files: dict[str, int], watts: float, joules: float) -> None:
    folder = sampled.battery(tmp_path, "Discharging", **files)
    sampler, columns = opened("battery", tmp_path)
    assert [column.feeds for column in columns[:2]] == ["board", "board"]
    assert sampler.read() == [pytest.approx(watts), 0.0, 87.0]
    name = "energy_now" if "energy_now" in files else "charge_now"
    sampled.put(folder / name, files[name] - (100_000 if name == "energy_now" else 10_000))
    assert sampler.read()[1] == pytest.approx(joules)


def test_a_battery_that_is_charged_says_nothing_of_the_device(tmp_path: Path) -> None:
    folder = sampled.battery(tmp_path, "Charging")
    lack = lack_of("battery", Place(tmp_path))
    assert lack is not None
    assert lack.mend.startswith("unplug it")
    sampler, columns = opened("battery", tmp_path)
    assert sampler.read() == [None, None, 87.0]
    assert columns[0].missing == "the device does not run on this battery (it is charging)"
    sampled.put(folder / "status", "Discharging")
    assert sampler.read()[0] is None, "a part of the measurement ran on the mains"


def test_a_battery_that_shows_neither_power_nor_energy_says_so(tmp_path: Path) -> None:
    sampled.battery(tmp_path, capacity=50)
    sampler, columns = opened("battery", tmp_path)
    assert sampler.read() == [None, None, 50.0]
    assert "shows no power of this battery" in columns[0].missing
    assert "how much energy is left" in columns[1].missing
    assert "shows no power of this battery" in str(lack_of("battery", Place(tmp_path)))


def test_a_battery_that_is_taken_out_is_null_from_then_on(tmp_path: Path) -> None:
    folder = sampled.battery(tmp_path)
    sampler, _ = opened("battery", tmp_path)
    sampler.read()
    shutil.rmtree(folder)
    assert sampler.read() == [None, None, None]
    gone = "this battery is not there any more"
    assert sampler.missing() == {"battery_bat0_w": gone, "battery_bat0_j": gone, "battery_bat0_percent": gone}
    sampled.battery(tmp_path)
    assert sampler.read() == [None, None, None], "what is put in may be another battery"


def test_batteries_with_odd_names_have_columns_of_their_own(tmp_path: Path) -> None:
    folder = sampled.battery(tmp_path)
    for name in ("bat0", "BAT-1 x"):
        shutil.copytree(folder, folder.parent / name)
    _, columns = opened("battery", tmp_path)
    assert {"battery_bat_1_x_w", "battery_bat0_w", "battery_bat0_2_w"} == {column.name for column in columns if column.unit == "W"}


def test_the_meters_of_two_chips_are_not_added_and_a_whole_that_cannot_be_read_is_not_halved(tmp_path: Path) -> None:
    """A meter of the board and one in the power supply both show all that the device takes."""
    for number, chip, file in ((0, "corsairpsu", "power1_input"), (1, "power_meter", "power1_average"), (2, "corsairpsu", "power1_input")):
        folder = tmp_path / f"sys/class/hwmon/hwmon{number}"
        sampled.put(folder / "name", chip)
        sampled.put(folder / "power1_label", "power total")
        sampled.put(folder / file, 90_000_000)
    _, columns = opened("hwmon", tmp_path)
    assert [(column.name, column.role, column.feeds) for column in columns] == [
        ("hwmon_corsairpsu_power_total_w", "power", "board"),
        ("hwmon_corsairpsu_power_total_w_2", "power", "board"),
        ("hwmon_power_meter_power_total_w", "power", ""),
    ]
    sampled.put(tmp_path / "sys/class/hwmon/hwmon2/power1_input", "")
    _, columns = opened("hwmon", tmp_path)
    assert [(column.role, bool(column.missing)) for column in columns] == [("value", False), ("power", True), ("power", False)]


def _board(root: Path, **values: object) -> Sequence[tuple[str, str]]:
    """Return name and role of the columns of a chip whose rails are all labelled as the whole device."""
    folder = root / "sys/class/hwmon/hwmon0"
    sampled.put(folder / "name", "ltc2947")
    for file, value in values.items():
        sampled.put(folder / f"{file}_label", "system power")
        sampled.put(folder / f"{file}_input", value)
    sampler, columns = opened("hwmon", root)
    sampler.close()
    return [(column.name.removeprefix("hwmon_ltc2947_system_power_"), column.role) for column in columns]


def test_an_energy_that_cannot_be_read_leaves_the_power_of_the_same_rail(tmp_path: Path) -> None:
    assert _board(tmp_path, energy1="", power1=7_000_000) == [("w", "power"), ("j", "energy")]


def test_a_power_is_not_taken_for_that_of_the_whole_device_if_another_rail_shows_nothing(tmp_path: Path) -> None:
    """The second rail has no power, and its energy cannot be read. The power of the first one alone would be too little."""
    found = _board(tmp_path, power1=7_000_000, energy1=5_000_000, energy2="")
    assert found == [("w", "value"), ("j", "value"), ("j_2", "energy")]


def test_the_rail_of_the_whole_device_is_read_though_many_others_come_first(tmp_path: Path) -> None:
    for number in range(40):
        sampled.put(tmp_path / f"sys/class/hwmon/hwmon{number}/name", "power_meter" if number == 35 else "pmbus")
        sampled.put(tmp_path / f"sys/class/hwmon/hwmon{number}/power1_input", 5_000_000)
    _, columns = opened("hwmon", tmp_path)
    assert (len(columns), columns[0].name, columns[0].feeds) == (32, "hwmon_power_meter_power1_w", "board")


def test_a_mouse_s_battery_is_not_the_device_s(tmp_path: Path) -> None:
    sampled.put(sampled.battery(tmp_path) / "scope", "Device")
    assert lack_of("battery", Place(tmp_path)) is not None


def test_clock_and_temperature_are_those_of_the_fastest_and_the_hottest(tmp_path: Path) -> None:
    sampler, _ = opened("cpu", sampled.processor(tmp_path))
    assert sampler.read() == (2400.0, 61.5)
