from __future__ import annotations

from orchestrator.reports.noise_summary import gathered


def test_reasons_that_differ_only_in_their_numbers_are_one_line_with_ranges() -> None:
    told = "other work kept {} cores busy while measuring, on 2 CPUs of which the process needed {}"
    jobs = [[told.format(0.4, "2.0"), "turbo is on"], [told.format(1.2, "1.0")], ["turbo is on"], [told.format(0.9, "2.0"), "turbo is on"]]
    assert gathered(jobs) == [
        {"said": told.format("0.4–1.2", "1.0–2.0"), "jobs": 3},
        {"said": "turbo is on", "jobs": 3},
    ]


def test_ranges_are_by_size_and_keep_their_digits() -> None:
    assert gathered([["it was at 95 °C"], ["it was at 101 °C"]])[0]["said"] == "it was at 95–101 °C"
    assert gathered([["took 1.6% of it"], ["took 1.60% of it"]])[0]["said"] == "took 1.6% of it"


def test_a_job_that_gives_a_reason_twice_counts_once() -> None:
    assert gathered([["busy 1", "busy 2"]]) == [{"said": "busy 1–2", "jobs": 1}]


def test_names_with_digits_are_not_numbers() -> None:
    assert [one["said"] for one in gathered([["cooling: cpu0"], ["cooling: cpu1"]])] == ["cooling: cpu0", "cooling: cpu1"]


def test_text_of_strangers_breaks_nothing() -> None:
    assert gathered([["a\0 1"], ["a\0 2"], []]) == [{"said": "a  1–2", "jobs": 2}]
