"""Fills the cells of the CSV from the figures of an outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.reports.columns import COUNT_COLUMNS, Cell, Row, ms_cell, rounded
from orchestrator.reports.money import price_of
from orchestrator.reports.sampled import ENERGY_SOURCE, SAMPLED
from shared.distributions import Distribution
from shared.figures import Figure, Outcome
from shared.labels import why_no_price
from shared.protocol.messages import Device, Result

DIGITS = 9


def cells_of_samplers(figures: Iterable[Figure], *facts: Mapping[str, Any]) -> Row:
    """Return the cells that samplers fill. A figure that is missing or null leaves its cell empty.

    Args:
        facts: where the source of the energy may be named.
    """
    row: Row = {}
    for figure in figures:
        if figure.name in SAMPLED and figure.value is not None:
            column, digits = SAMPLED[figure.name]
            row[column] = rounded(figure.value, digits)
    source = next((one[ENERGY_SOURCE] for one in facts if one.get(ENERGY_SOURCE)), None)
    return row | {"EnergySource": str(source)} if source else row


def cells_of_outcome(outcome: Outcome, result: Result, columns: Mapping[str, str], *, loads: str, units: str) -> Row:
    """Return the cells of an outcome.

    Args:
        columns: the column of each figure, by the figure's name.
        loads: the name of the distribution of making ready.
        units: the name of the distribution of one unit of work.
    """
    row: Row = {}
    headline = outcome.figure(outcome.headline)
    if headline is not None and headline.repeats:
        row["Repeats"] = len(headline.repeats)
    if loads in outcome.distributions:
        row |= cells_of_loads(outcome.distributions[loads])
    if units in outcome.distributions:
        row |= cells_of_units(outcome.distributions[units])
    row |= cells_of_price(result.device)
    row |= {columns[one.name]: _cell(one, columns[one.name]) for one in outcome.figures if one.name in columns}
    return row | cells_of_samplers(outcome.figures, outcome.detail, result.runtime)


def _cell(figure: Figure, column: str) -> Cell:
    value = rounded(figure.value, DIGITS)
    return round(value) if value is not None and column in COUNT_COLUMNS else value


def cells_of_loads(load: Distribution) -> Row:
    """Return the cells of the distribution of making ready, such as loading a model."""
    return {
        "LoadMsMedian": ms_cell(load.median),
        "LoadMsAverage": ms_cell(load.mean),
        "LoadMsStdDev": ms_cell(load.stddev),
        "LoadMsFirst": ms_cell(load.first),
        "Loads": load.n,
    }


def cells_of_units(unit: Distribution) -> Row:
    """Return the cells of the distribution of one unit of work, such as one inference."""
    interval = unit.median_ci
    return {
        "InferenceMsMedian": ms_cell(unit.median),
        "InferenceMsAverage": ms_cell(unit.mean),
        "InferenceMsStdDev": ms_cell(unit.stddev),
        "InferenceMsMin": ms_cell(unit.min),
        "InferenceMsMax": ms_cell(unit.max),
        "InferenceMsP90": ms_cell(unit.p90),
        "InferenceMsP95": ms_cell(unit.p95),
        "InferenceMsP99": ms_cell(unit.p99),
        "InferenceMsFirst": ms_cell(unit.first),
        "InferenceMsMedianCiLow": ms_cell(interval.low) if interval else None,
        "InferenceMsMedianCiHigh": ms_cell(interval.high) if interval else None,
        "Inferences": unit.n,
        "Outliers": unit.outliers,
    }


def cells_of_price(device: Device) -> Row:
    """Return the price of a device with where it comes from, or why its label is no price."""
    price = price_of(device)
    source = price.source if price else why_no_price(device.labels)
    return {"PricePerHour": price.per_hour if price else None, "PriceSource": source or None}
