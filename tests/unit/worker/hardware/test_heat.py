"""Tests temperature sensors as the kernel shows them on an Intel desktop, an AMD server, a Raspberry Pi and a board with an ARM chip."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.hardware.heat import Heat, read_heat


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


INTEL = {
    "class/hwmon/hwmon0/name": "nvme\n", "class/hwmon/hwmon0/temp1_input": "99000\n",  # the heat of a disk does not slow the processor down
    "class/hwmon/hwmon1/name": "coretemp\n",
    "class/hwmon/hwmon1/temp1_input": "71000\n", "class/hwmon/hwmon1/temp1_crit": "100000\n",
    "class/hwmon/hwmon1/temp2_input": "74000\n", "class/hwmon/hwmon1/temp2_crit": "100000\n",
    "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
    "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
    "devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "10\n",
    "devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "10\n",
    "devices/system/cpu/cpu0/topology/physical_package_id": "0\n", "devices/system/cpu/cpu1/topology/physical_package_id": "0\n",
    "class/thermal/cooling_device0/type": "Processor\n", "class/thermal/cooling_device0/cur_state": "0\n",
}  # fmt: skip
AMD = {
    "class/hwmon/hwmon0/name": "k10temp\n",
    # this limit is a constant of the driver and not a limit of the device
    "class/hwmon/hwmon0/temp1_input": "93500\n", "class/hwmon/hwmon0/temp1_max": "70000\n",
}  # fmt: skip
RASPBERRY_PI = {
    "class/thermal/thermal_zone0/type": "cpu-thermal\n", "class/thermal/thermal_zone0/temp": "81200\n",
    "class/thermal/thermal_zone0/trip_point_0_type": "critical\n", "class/thermal/thermal_zone0/trip_point_0_temp": "110000\n",
    "devices/platform/soc/soc:firmware/get_throttled": "5000d\n",
}  # fmt: skip
ARM_BOARD = {
    "class/thermal/thermal_zone0/type": "soc-thermal\n", "class/thermal/thermal_zone0/temp": "86000\n",
    "class/thermal/thermal_zone0/trip_point_0_type": "passive\n", "class/thermal/thermal_zone0/trip_point_0_temp": "70000\n",
    "class/thermal/thermal_zone0/trip_point_1_type": "passive\n", "class/thermal/thermal_zone0/trip_point_1_temp": "85000\n",
    "class/thermal/thermal_zone1/type": "battery\n", "class/thermal/thermal_zone1/temp": "99000\n",
    "class/thermal/cooling_device0/type": "cpufreq-cpu4\n", "class/thermal/cooling_device0/cur_state": "3\n",
    # a fan does not slow down the processor
    "class/thermal/cooling_device1/type": "pwm-fan\n", "class/thermal/cooling_device1/cur_state": "2\n",
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        (INTEL, Heat(temperature_c=74.0, limit_c=100.0, throttle_events=17)),
        (AMD, Heat(temperature_c=93.5)),
        # In 0x5000d, the bits 0, 2 and 3 are present conditions. The bits from 16 on are conditions that occurred since the start.
        (RASPBERRY_PI, Heat(temperature_c=81.2,
                            firmware=("the supply voltage is too low", "the firmware throttles the clock", "a temperature limit"))),
        (ARM_BOARD, Heat(temperature_c=86.0, limit_c=70.0, cooling=("cpufreq-cpu4",))),
        ({}, Heat()),
    ],
    ids=["intel", "amd", "raspberry pi", "arm board", "nothing"],
)  # fmt: skip
def test_every_kind_of_processor_tells_its_heat_in_its_own_way(tmp_path: Path, files: dict[str, str], seen: Heat) -> None:
    assert read_heat(tree(tmp_path, files)) == seen


def test_a_sensor_that_says_nonsense_is_left_out(tmp_path: Path) -> None:
    assert read_heat(tree(tmp_path, INTEL | {"class/hwmon/hwmon1/temp2_input": "?\n"})).temperature_c == 71.0
