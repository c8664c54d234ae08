"""Tests which samples become figures of a job: those of its own GPU and of one source of energy. A missing figure has a reason."""

from __future__ import annotations

import math
from array import array

import pytest

from shared.columns import Column
from shared.energy import Window
from shared.figures import Figure
from shared.telemetry import ENERGY, ENERGY_ABOVE_IDLE, GPU_MEMORY, GPU_PERCENT, GPU_TEMPERATURE, POWER
from tests.sampled import UUIDS
from worker.samplers.looks import DIED, Looks
from worker.supervisor.beside import Found, belongs_to, beside

NAN = math.nan
WINDOWS = [Window(1.0, 9.0, 90), Window(11.0, 9.0, 90)]


def looks(*columns: tuple[Column, float | list[float]], absent: dict[str, str] | None = None, ended: str = "") -> Looks:
    """Return 20.1 s of samples. A number stands for a column that always has this value. The value of an energy grows by it each second."""
    times = array("d", [place / 10 for place in range(202)])
    values = [
        array("d", given if isinstance(given, list) else [given * (at if column.role == "energy" else 1) for at in times])
        for column, given in columns
    ]
    return Looks([column for column, _ in columns], times, array("d", [0.0] * 202), values, absent or {}, ended=ended)


def gpu(index: int, *, chosen: bool | None, watts: float, users: float = 0.0) -> list[tuple[Column, float | list[float]]]:
    uuid = UUIDS[index]
    return [
        (Column(f"gpu{index}_percent", "percent", "nvml", uuid, "use", "gpu", chosen), 10.0 * (index + 1)),
        (Column(f"gpu{index}_memory_mb", "MB", "nvml", uuid, "memory", "gpu", chosen), 100.0 * (index + 1)),
        (Column(f"gpu{index}_temperature_c", "°C", "nvml", uuid, "temperature", "gpu", chosen), 50.0 + index),
        (Column(f"gpu{index}_power_w", "W", "nvml", uuid, "power", "gpu", chosen), watts),
        (Column(f"gpu{index}_processes_of_job", "count", "nvml", uuid, "ours", "gpu", chosen), users),
    ]


def figures(found: Found) -> dict[str, Figure]:
    return {one.name: one for one in found[0]}


def test_a_capability_says_whose_energy_its_jobs_take() -> None:
    assert [belongs_to(name) for name in ("cpu.onnx", "gpu.cuda.onnx", "hardware.cuda", "hardware.cpu", "ane.coreml", "fake")] == [
        "cpu",
        "gpu",
        "gpu",
        "cpu",
        "cpu",
        "cpu",
    ]


@pytest.mark.parametrize("known", [True, None])
def test_the_figures_are_of_the_gpu_that_the_job_used(known: bool | None) -> None:
    """It is known in advance by its UUID, or by the processes that were seen on it."""
    found = figures(beside(looks(*gpu(0, chosen=known and False, watts=90), *gpu(1, chosen=known, watts=350, users=1)), WINDOWS, "gpu"))
    assert found[GPU_PERCENT].value == 20.0
    assert found[GPU_MEMORY].value == 200.0
    assert found[GPU_TEMPERATURE].value == 51.0
    assert found[POWER].value == pytest.approx(350.0)
    assert found[ENERGY].value == pytest.approx(35.0)


def test_with_several_gpus_and_no_sign_of_the_job_nothing_is_guessed() -> None:
    found = figures(beside(looks(*gpu(0, chosen=None, watts=90), *gpu(1, chosen=None, watts=350)), WINDOWS, "gpu"))
    assert all(one.value is None for one in found.values())
    assert all("set CUDA_VISIBLE_DEVICES to a UUID" in one.missing for one in found.values())


def test_packages_and_their_memory_add_up_and_a_second_source_is_not_added() -> None:
    rapl = [Column(name, "J", "rapl", role="energy", feeds="cpu", step_s=0.001) for name in ("a_j", "b_j")]
    board = Column("hwmon_in_w", "W", "hwmon", role="power", feeds="board")
    found, facts = beside(looks((rapl[0], 30.0), (rapl[1], 6.0), (board, 80.0)), WINDOWS, "cpu")
    assert (facts.energy.source, facts.energy.of) == ("counter", "a_j, b_j")
    assert figures((found, facts))[POWER].value == pytest.approx(36.0)


def test_two_sources_of_the_whole_device_are_not_added_either() -> None:
    meter = Column("hwmon_in_w", "W", "hwmon", role="power", feeds="board")
    battery = Column("battery_bat0_w", "W", "battery", role="power", feeds="board")
    found, facts = beside(looks((meter, 12.0), (battery, 12.5)), WINDOWS, "cpu")
    assert (facts.energy.source, facts.energy.of) == ("integrated", "hwmon_in_w")
    assert figures((found, facts))[ENERGY].value == pytest.approx(1.2)


def test_a_missing_right_is_said_with_the_command_that_mends_it() -> None:
    why = "only root may read the energy counter of this processor (RAPL); allow it with: sudo chmod a+r x"
    rapl = Column("rapl_package_0_j", "J", "rapl", role="energy", feeds="cpu", missing=why)
    found = figures(beside(looks((rapl, NAN), absent={"battery": "no battery"}), WINDOWS, "cpu"))
    assert found[ENERGY].missing == f"nothing here shows the energy of the processor: {why}; no battery"


def test_a_source_that_vanishes_leaves_the_repeats_before_it() -> None:
    column = Column("rapl_package_0_j", "J", "rapl", role="energy", feeds="cpu", step_s=0.001)
    values = [5.0 * place if place < 105 else NAN for place in range(202)]
    found = figures(beside(looks((column, values), ended=DIED), WINDOWS, "cpu"))
    assert found[ENERGY].value == pytest.approx(50.0 * 9 / 90)
    assert len(found[ENERGY].repeats) == 1


def test_an_energy_that_is_missing_because_its_source_vanished_says_so() -> None:
    column = Column("gpu0_power_w", "W", "nvml", UUIDS[0], "power", "gpu", True, missing="NVML was lost while measuring: GPU is lost")
    found = figures(beside(looks((column, [300.0] * 15 + [NAN] * 187)), WINDOWS, "gpu"))
    assert found[ENERGY].value is None
    assert found[ENERGY].missing.endswith("; NVML was lost while measuring: GPU is lost")
    assert found[POWER].value == pytest.approx(300.0)


@pytest.mark.parametrize("watts", [0.0, -3.0])
def test_a_meter_without_a_power_is_no_power_of_zero(watts: float) -> None:
    column = Column("hwmon_in_w", "W", "hwmon", role="power", feeds="board")
    found, facts = beside(looks((column, watts)), WINDOWS, "cpu", idle=Window(0.0, 0.95, 0))
    assert figures((found, facts))[POWER].value is None
    assert "which no device takes" in figures((found, facts))[POWER].missing
    assert facts.energy.idle_w is None


def test_a_power_of_zero_in_a_short_part_is_not_put_down_to_its_length() -> None:
    """More inferences would not mend a meter that does not work. The reason of the energy is another one."""
    column = Column("hwmon_in_w", "W", "hwmon", role="power", feeds="board")
    found = figures(beside(looks((column, 0.0)), [Window(1.0, 2.0, 10)], "cpu"))
    assert (found[POWER].value, found[POWER].n) == (None, 0)
    assert found[POWER].missing == "the sampled power is 0 W on average, which no device takes: its meter does not work"
    assert found[ENERGY].missing.startswith("too short")


def test_power_needs_less_than_energy_and_the_reason_says_what_is_lacking() -> None:
    column = Column("hwmon_in_w", "W", "hwmon", role="power", feeds="board")
    found = figures(beside(looks((column, 7.0)), [Window(1.0, 2.0, 10)], "cpu"))
    assert found[POWER].value == 7.0
    assert found[ENERGY].missing.startswith("too short: the timed inferences took 2 s, and an energy needs 5 s")


def test_a_counter_and_a_power_that_disagree_give_neither() -> None:
    both = [
        (Column("gpu0_power_w", "W", "nvml", UUIDS[0], "power", "gpu", True), 300.0),
        (Column("gpu0_energy_j", "J", "nvml", UUIDS[0], "energy", "gpu", True), 200.0),
    ]
    found = figures(beside(looks(*both), WINDOWS, "gpu"))
    assert found[POWER].value is None
    assert found[ENERGY].value is None
    assert "they differ by 50%" in found[POWER].missing


def test_the_idle_power_is_subtracted_in_a_figure_of_its_own() -> None:
    column = Column("rapl_package_0_j", "J", "rapl", role="energy", feeds="cpu", step_s=0.001)
    idle = [2.0 * place if place < 10 else 20.0 + 6.0 * (place - 10) for place in range(202)]
    found, facts = beside(looks((column, idle)), WINDOWS, "cpu", idle=Window(0.0, 0.95, 0))
    by_name = figures((found, facts))
    assert facts.energy.idle_w == pytest.approx(20.0)
    assert by_name[ENERGY].value == pytest.approx(6.0)
    assert by_name[ENERGY_ABOVE_IDLE].value == pytest.approx(4.0)
    assert figures(beside(looks((column, idle)), WINDOWS, "cpu"))[ENERGY_ABOVE_IDLE].missing == "the idle power was not measured"
    known = figures(beside(looks((column, idle)), WINDOWS, "cpu", known_idle_w=20.0))
    assert known[ENERGY_ABOVE_IDLE].value == pytest.approx(4.0)


def test_work_that_counts_no_inferences_has_a_power_and_no_energy_for_one() -> None:
    column = Column("hwmon_in_w", "W", "hwmon", role="power", feeds="board")
    found = figures(beside(looks((column, 7.0)), [Window(1.0, 10.0, 0)], "cpu"))
    assert found[POWER].value == pytest.approx(7.0)
    assert found[ENERGY].missing == "this kind of work counts no inferences"


def test_nothing_sampled_is_said() -> None:
    found = figures(beside(Looks(ended="it died"), WINDOWS, "cpu"))
    assert {one.missing for one in found.values()} == {"it died", "the job did not run on a GPU"}


def test_a_figure_counts_only_the_samples_that_it_is_computed_from() -> None:
    """There are 202 samples in 20.1 s. Of these, 2 x 91 lie in the timed inferences."""
    found = figures(beside(looks(*gpu(0, chosen=True, watts=90)), WINDOWS, "gpu"))
    assert (found[GPU_PERCENT].n, found[GPU_TEMPERATURE].n, found[POWER].n) == (182, 182, 182)
    assert found[GPU_MEMORY].n == 202, "the highest memory is that of all samples"
    counter = Column("rapl_package_0_j", "J", "rapl", role="energy", feeds="cpu", step_s=0.001)
    assert figures(beside(looks((counter, 30.0)), WINDOWS, "cpu"))[POWER].n == 182
    seldom = [1.0 if place % 10 == 0 else NAN for place in range(202)]
    battery = Column("battery_bat0_w", "W", "battery", role="power", feeds="board")
    assert figures(beside(looks((battery, seldom)), WINDOWS, "cpu"))[POWER].n == 20
    nothing = figures(beside(looks((battery, [NAN] * 202)), WINDOWS, "cpu"))
    assert (nothing[POWER].value, nothing[POWER].n) == (None, 0)


def test_work_that_counts_no_inferences_has_no_energy_above_idle_for_that_reason() -> None:
    column = Column("hwmon_in_w", "W", "hwmon", role="power", feeds="board")
    for known in (None, 5.0):
        found = figures(beside(looks((column, 7.0)), [Window(1.0, 10.0, 0)], "cpu", known_idle_w=known))
        assert found[ENERGY_ABOVE_IDLE].missing == "this kind of work counts no inferences"


def test_an_idle_power_below_zero_is_never_subtracted() -> None:
    """The counter is set to zero while the device is idle: the difference of its ends would be -2 J."""
    column = Column("rapl_package_0_j", "J", "rapl", role="energy", feeds="cpu", step_s=0.001)
    values = [2.0 * place if place < 5 else 6.0 * (place - 5) for place in range(202)]
    values[5:10] = [1.0, 2.0, 3.0, 4.0, 5.0]
    found, facts = beside(looks((column, values)), WINDOWS, "cpu", idle=Window(0.2, 0.5, 0))
    assert facts.energy.idle_w is None
    assert figures((found, facts))[ENERGY_ABOVE_IDLE].missing.startswith("the counter of energy fell while the device was idle")
    meter = Column("hwmon_in_w", "W", "hwmon", role="power", feeds="board")
    found, facts = beside(looks((meter, [-3.0] * 10 + [7.0] * 192)), WINDOWS, "cpu", idle=Window(0.0, 0.95, 0))
    assert facts.energy.idle_w is None
    assert "the sampled power of the idle device is -3 W" in figures((found, facts))[ENERGY_ABOVE_IDLE].missing


def test_a_counter_that_did_not_step_in_the_short_idle_window_is_not_called_broken() -> None:
    """The same counter gives the energy. It steps once a second, and the device was idle for less than that."""
    column = Column("hwmon_total_j", "J", "hwmon", role="energy", feeds="board", step_s=0.05)
    values = [6.0 * (place // 10) for place in range(202)]
    found, facts = beside(looks((column, values)), WINDOWS, "cpu", idle=Window(0.0, 0.95, 0))
    by_name = figures((found, facts))
    assert by_name[ENERGY].value is not None
    assert facts.energy.idle_w is None
    assert by_name[ENERGY_ABOVE_IDLE].missing == "the counter did not step while the device was idle, so the idle power is unknown"


def test_a_device_that_took_more_while_it_was_idle_has_no_energy_above_idle() -> None:
    column = Column("hwmon_in_w", "W", "hwmon", role="power", feeds="board")
    found = figures(beside(looks((column, 7.0)), WINDOWS, "cpu", known_idle_w=9.0))
    assert found[ENERGY_ABOVE_IDLE].value is None
    assert found[ENERGY_ABOVE_IDLE].missing.startswith("the device took 7 W while it measured and 9 W while it was idle")
    assert found[ENERGY].value == pytest.approx(0.7)
