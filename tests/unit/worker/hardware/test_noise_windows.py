"""Tests what is made of the windows in which one job was observed while it took turns with others."""

from __future__ import annotations

from worker.hardware.noise import grade
from worker.hardware.noise_windows import Window, joined


def test_one_window_stays_as_it_is() -> None:
    facts = {"other_cores": 0.3, "throttled_periods": 2, "capability": "cpu.onnx"}
    assert joined([Window(2.0, facts)]) == facts


def test_shares_are_means_over_time_counts_are_sums_and_extremes_stay() -> None:
    first = {
        "other_cores": 1.0,
        "steal": 0.0,
        "throttled_periods": 1,
        "mhz_under_load_min": 900.0,
        "mhz_under_load_max": 1000.0,
        "threads": None,
    }
    second = {
        "other_cores": 0.0,
        "steal": 0.4,
        "throttled_periods": 2,
        "mhz_under_load_min": 950.0,
        "mhz_under_load_max": 1200.0,
        "threads": 2,
    }
    facts = joined([Window(1.0, first | {"cooling": ["fan"]}), Window(3.0, second | {"cooling": ["core", "fan"]})])
    assert facts == {
        "other_cores": 0.25,
        "steal": 0.30000000000000004,
        "throttled_periods": 3,
        "mhz_under_load_min": 900.0,
        "mhz_under_load_max": 1200.0,
        "threads": 2,
        "cooling": ["core", "fan"],
    }


def test_what_no_window_could_observe_stays_unknown_and_what_one_did_counts() -> None:
    facts = joined([Window(1.0, {"steal": None, "other_cores": None}), Window(1.0, {"steal": None, "other_cores": 0.5})])
    assert facts == {"steal": None, "other_cores": 0.5}


def test_what_was_so_just_before_is_what_was_so_before_the_first_window() -> None:
    facts = joined([Window(1.0, {"other_cores_before": 0.0}), Window(1.0, {"other_cores_before": 2.0})])
    assert facts == {"other_cores_before": 0.0}


def test_throttling_in_one_window_of_many_makes_the_job_noisy() -> None:
    quiet = {"throttled_periods": 0, "quota_periods": 10, "throttled_s": 0.0, "quota_cores": 1.0}
    windows = [Window(1.0, quiet), Window(1.0, quiet | {"throttled_periods": 4, "throttled_s": 0.2}), Window(1.0, quiet)]
    assert grade(joined(windows)).reasons == ["the CPU quota of 1 cores stopped the process in 4 of 30 periods, for 0.2 s in all"]
