from __future__ import annotations

from pathlib import Path

from worker.hardware.clocks import ClockLimits, read_governor, read_limits, read_mhz, read_turbo


def policy(cpus: Path, number: int, related: str, **files: str) -> None:
    folder = cpus / "cpufreq" / f"policy{number}"
    folder.mkdir(parents=True)
    for name, text in {"related_cpus": related, **files}.items():
        (folder / name).write_text(f"{text}\n")


def test_the_fastest_of_the_cpus_that_the_process_may_use_tells_the_clock(tmp_path: Path) -> None:
    """The board has four small and two big cores."""
    both = {"scaling_driver": "cpufreq-dt"}
    policy(tmp_path, 0, "0 1 2 3", **both, scaling_cur_freq="1416000", cpuinfo_max_freq="1416000", scaling_governor="ondemand")
    policy(tmp_path, 4, "4 5", **both, scaling_cur_freq="1008000", cpuinfo_max_freq="1800000", scaling_governor="performance")
    assert read_mhz(None, tmp_path) == 1416
    assert read_mhz({4, 5}, tmp_path) == 1008
    assert read_limits({4, 5}, tmp_path) == ClockLimits(1800, 1800)  # without turbo, the processor can hold its highest clock
    assert read_limits({0}, tmp_path) == ClockLimits(1416, 1416)
    assert read_governor(tmp_path) == "ondemand and performance"
    assert read_turbo(tmp_path) is False


def test_where_nothing_tells_of_turbo_the_clock_that_all_cores_can_hold_is_unknown(tmp_path: Path) -> None:
    """Kernels before 6.9 have no file for the boost of amd-pstate.

    One core alone reaches 4 500 MHz, and 3 400 MHz under load are normal.
    """
    policy(tmp_path, 0, "0", scaling_driver="amd-pstate-epp", scaling_cur_freq="3400000", cpuinfo_max_freq="4500000")
    assert read_turbo(tmp_path) is None
    assert read_limits(None, tmp_path) == ClockLimits(4500, None)
    (tmp_path / "cpufreq" / "boost").write_text("0\n")
    assert read_limits(None, tmp_path) == ClockLimits(4500, 4500)


def test_with_turbo_the_clock_that_all_cores_can_hold_is_the_base(tmp_path: Path) -> None:
    policy(tmp_path, 0, "0", scaling_cur_freq="4400000", cpuinfo_max_freq="5000000", base_frequency="3600000")
    (tmp_path / "intel_pstate").mkdir()
    (tmp_path / "intel_pstate" / "no_turbo").write_text("0\n")
    assert read_turbo(tmp_path) is True
    assert read_limits(None, tmp_path) == ClockLimits(5000, 3600)
    (tmp_path / "cpufreq" / "policy0" / "base_frequency").unlink()
    assert read_limits(None, tmp_path) == ClockLimits(
        5000, None
    )  # AMD reports a boost but no base clock, so the clock that it can hold is unknown


def test_a_boost_that_nothing_tells_of_is_not_taken_for_a_clock_that_all_cores_can_hold(tmp_path: Path) -> None:
    """Before Linux 6.11, amd_pstate has no files `boost` and `base_frequency`.

    The highest clock that it shows is that of the boost. Ubuntu 24.04 has such a kernel.
    """
    policy(tmp_path, 0, "0", scaling_cur_freq="4200000", cpuinfo_max_freq="5759000")
    policy(tmp_path, 1, "1", scaling_cur_freq="4200000", cpuinfo_max_freq="5759000")
    (tmp_path / "amd_pstate").mkdir()
    (tmp_path / "amd_pstate" / "status").write_text("active\n")
    assert read_limits(None, tmp_path) == ClockLimits(5759, None)
    for number, nominal in ((0, "0"), (1, "3801")):
        folder = tmp_path / f"cpu{number}" / "acpi_cppc"
        folder.mkdir(parents=True)
        (folder / "nominal_freq").write_text(f"{nominal}\n")
    assert read_limits(None, tmp_path) == ClockLimits(5759, 3801)
    assert read_limits({0}, tmp_path) == ClockLimits(5759, None)  # some firmware writes 0 if it does not know the value


def test_a_virtual_machine_tells_only_what_cpuinfo_says(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\ncpu MHz\t\t: 2100.000\n\nprocessor\t: 1\ncpu MHz\t\t: 2593.900\n")
    assert read_mhz(None, tmp_path, cpuinfo) == 2593.9
    assert read_mhz({0}, tmp_path, cpuinfo) == 2100.0
    assert read_limits(None, tmp_path) == ClockLimits(None, None)
    assert read_mhz(None, tmp_path, tmp_path / "nothing") is None
