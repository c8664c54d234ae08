"""Tests that thresholds, facts and figures are read as people write them, and that invalid ones are refused."""

from __future__ import annotations

import pytest

from orchestrator.reports.sheets.registry import sheet_of
from orchestrator.verdicts.figures import COMPARED, FIGURES, compared_figure, figure_kind
from orchestrator.verdicts.terms import MAX_REGRESSION, SHARE, allowed_facts, share_of
from shared.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), ("0%", 0.0), ("0", 0.0), ("2.5%", 0.025), ("0.05", 0.05), ("1%", 0.01), ("100%", 1.0), (MAX_REGRESSION, 0.05)],
)
def test_a_share_is_a_percentage_or_a_fraction(text: str, share: float) -> None:
    assert share_of(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["abc", "-5%", "500%", "5", "101%", "1.5", "", "%", "5 %", "5%%", "nan", "inf", "1e-2", "٥%", "5%\n", "0.05%x"]
)
def test_another_share_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"max_regression: .* is no share from 0 to 100 %; write 5% or 0\.05") as refused:
        share_of(text)
    assert refused.value.fields[0].path == "query.max_regression"


@pytest.mark.parametrize("text", ["1", "1.", "1.0", "1.000"])
def test_one_without_a_unit_is_refused_because_it_may_mean_one_per_cent(text: str) -> None:
    with pytest.raises(InvalidInput, match=f"'{text}' may mean 1 % or 100 %; write 1% or 100%"):
        share_of(text)
    assert not SHARE.fullmatch(text)


def test_the_pattern_needs_no_anchor_to_be_exact() -> None:
    assert SHARE.fullmatch("100%")
    assert not SHARE.fullmatch("1000%")


def test_facts_come_one_by_one_or_with_commas() -> None:
    assert allowed_facts(["runtime", "model, device", ""]) == {"runtime", "model", "device"}
    with pytest.raises(InvalidInput, match="'runtme' is no fact that must be equal: did you mean 'runtime'"):
        allowed_facts(["runtme"])
    with pytest.raises(InvalidInput, match="is no fact that must be equal"):
        allowed_facts(["fleetmark"])


def test_only_a_figure_of_each_repeat_can_be_compared() -> None:
    assert [compared_figure(name).name for name in COMPARED] == list(COMPARED)
    assert [figure_kind(name).name for name in FIGURES] == list(FIGURES)
    with pytest.raises(InvalidInput, match="inference_p99_ms has no value for each repeat"):
        compared_figure("inference_p99_ms")
    with pytest.raises(InvalidInput, match="power_w has no value for each repeat"):
        compared_figure("power_w", sheet_of("inference"))
    with pytest.raises(InvalidInput, match="peak_gb_per_s is a figure of another kind of work than these") as refused:
        compared_figure("peak_gb_per_s", sheet_of("inference"))
    assert len(str(refused.value)) < 300, "the names are too many to list"
    with pytest.raises(InvalidInput, match="did you mean 'inference_ms'"):
        figure_kind("inferenz_ms")
