from __future__ import annotations

import pytest

from benchmarks.ratios import line, verdict, verdict_beside_equal_work


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([0.97, 0.98, 0.99, 0.96, 0.97, 0.98], "reached"),
        ([0.80, 0.81, 0.82, 0.83, 0.84, 0.85], "MISSED"),
        ([1.10, 1.20, 1.30, 1.40, 1.50, 1.60], "MISSED"),
        ([0.70, 0.98, 0.99, 1.00, 1.01, 1.60], "undecided"),  # the median is within the target, but these turns do not show it
        ([0.98, 0.99], "undecided"),  # the median of so few has no interval
    ],
)
def test_a_target_is_reached_or_missed_only_if_the_whole_interval_of_the_median_says_so(ratios: list[float], said: str) -> None:
    assert verdict(ratios, 0.95, 1.05) == said
    assert f"target 0.95 to 1.05: {said}" in line("triad", ratios, 0.95, 1.05)


def test_a_line_names_the_median_its_interval_and_what_stands_beside() -> None:
    said = line("triad", [0.97, 0.98, 0.99, 0.96, 0.97, 0.98], 0.95, 1.05, "best 30 and 31 GB/s")
    after = "ratio 0.975 (95 % interval 0.960 to 0.990, 6 turns); target 0.95 to 1.05: reached; best 30 and 31 GB/s"
    assert said.partition("ratio")[0].strip() == "triad"
    assert said.endswith(after)


QUIET = [0.99, 0.99, 1.00, 1.00, 1.01, 1.01]


@pytest.mark.parametrize(
    ("ratios", "equal", "said"),
    [
        ([0.98, 0.99, 1.00, 1.00, 1.01, 1.02], QUIET, "reached"),
        ([1.02, 1.03, 1.03, 1.04, 1.04, 1.05], QUIET, "MISSED"),
        ([0.95, 0.95, 0.96, 0.96, 0.97, 0.98], QUIET, "MISSED"),  # a side that is faster without a reason is a finding, too
        ([1.02, 1.03, 1.03, 1.04, 1.04, 1.05], [0.7, 0.9, 1.0, 1.0, 1.1, 1.4], "undecided"),  # such equal work hides every effect
        ([1.0, 1.0], QUIET, "undecided"),
    ],
)
def test_an_effect_is_judged_beside_what_the_machine_does_to_equal_work(ratios: list[float], equal: list[float], said: str) -> None:
    assert verdict_beside_equal_work(ratios, equal) == said
