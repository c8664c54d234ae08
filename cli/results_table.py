"""Makes the table of a campaign's results. Each kind of work has figures of its own, and what the table says of missing values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.result_figures import FEW_SAMPLES, FIGURES, INFERENCE, WORK, Column, Rows, number, of_any_kind, parameters, text
from cli.tables import MISSING, state
from cli.terminal import shown
from shared.device_labels import device_labels
from shared.percentiles import PERCENTILE_FLOORS

MAX_SWEPT = 3  # a table has columns for at most so many swept values
MAX_NAMED = 4  # a note names at most so many jobs or devices
SHORT_HASH = 8  # a table shows so many characters of a hash


def results_table(rows: Rows) -> tuple[Table, list[str]]:
    """Return the results of a campaign as a table, with notes that explain missing values. `rows` use the column names of the CSV.

    What the recipe swept has a column for each value. What no row has (a cost, a p99) has no column, so that the table fits the terminal.
    """
    swept = _swept(rows)
    models = _models(rows, in_names=swept is None)
    columns = swept or {}
    kind = next((str(row["Kind"]) for row in rows if row.get("Kind")), INFERENCE)
    identity = [Column(WORK.get(kind, "What"), list(models), False)]
    identity += [Column(name.replace("_", " "), list(values), False) for name, values in columns.items()]
    identity += [Column("Device", list(_devices(rows)), False), Column("Where", [text(row, "ComputeUnits") for row in rows], False)]
    of_kind = FIGURES.get(kind, of_any_kind)
    figures = [*of_kind(rows), Column("Noise", [text(row, "NoiseGrade") or MISSING for row in rows])]
    made = Table(header_style="bold", title_justify="left")
    for column in (*identity, *figures):
        made.add_column(column.heading, justify="right" if column.is_figure else "left", no_wrap=column.is_figure)
    notes: list[str] = []
    few: dict[str, list[tuple[str, str]]] = defaultdict(
        list
    )  # which percentile is missing and why, and the jobs that lack it, with devices
    enough: set[str] = set()  # the names of jobs that lack none
    for index, (row, model) in enumerate(zip(rows, models, strict=True)):
        named = [column.cells[index] for column in identity]
        name = ", ".join([str(model), *(f"{key}={values[index]}" for key, values in columns.items() if values[index] != MISSING)])
        if row.get("Status") != "Complete":
            made.add_row(*named, state(str(row.get("Status") or "pending")))
            if row.get("Error"):
                notes.append(f"{name}: {text(row, 'Error')}")
            continue
        made.add_row(*named, *(column.cells[index] for column in figures))
        missing = _few_inferences(row) if kind in FEW_SAMPLES else []
        for percentile in missing:
            few[percentile].append((name, str(identity[-2].cells[index])))
        if not missing:
            enough.add(name)
        notes += [f"{name}: {text(row, key)}" for key in ("Warnings", "StoppedBecause") if text(row, key)]
        if swept is not None and (assumed := _assumed(row, swept)):
            notes.append(f"{model}: {assumed}")
    measured = sum(row.get("Status") == "Complete" for row in rows)
    lacks = []
    for percentile, jobs in few.items():
        names = [f"{name} on {device}" if name in enough else name for name, device in jobs]
        lacks.append(percentile if len(names) == measured else f"{_some(names)}: {percentile}")
    return made, [*dict.fromkeys(notes), *lacks, *_prices(rows), *_no_prices(rows)]


def _some(names: Sequence[str]) -> str:
    """Return names in one phrase, the first ones if they are many."""
    differing = list(dict.fromkeys(names))
    listed = differing if len(differing) <= MAX_NAMED else [*differing[: MAX_NAMED - 1], f"{len(differing) - MAX_NAMED + 1} others"]
    return " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))


def _swept(rows: Rows) -> dict[str, list[str]] | None:
    """Return what distinguishes the rows, as the name of each value and its text in each row.

    The result is None if there are more than `MAX_SWEPT` such values, or if one of the cells is not plain `name=value; name=value`; then
    the models' names show the cells. Values that are the same in all rows, and numbers of inferences that go with the model, are left out.
    """
    cells = [parameters(str(row.get("Parameters") or "")) for row in rows]
    if any(cell is None for cell in cells):
        return None
    known = [cell or {} for cell in cells]
    names = dict.fromkeys(name for cell in known for name in cell)
    differing = [name for name in names if len({cell.get(name) for cell in known}) > 1 and not _goes_with_model(rows, known, name)]
    if len(differing) > MAX_SWEPT:
        return None
    return {name: [shown(cell.get(name, MISSING)) for cell in known] for name in differing}


def _assumed(row: Mapping[str, Any], shown_apart: Collection[str]) -> str:
    """Return the dimensions of a row whose size nobody gave, unless they have a column."""
    found = parameters(str(row.get("Parameters") or "")) or {}
    return shown("; ".join(f"{name}={value}" for name, value in found.items() if value.endswith("(assumed)") and name not in shown_apart))


def _goes_with_model(rows: Rows, cells: Sequence[Mapping[str, str]], name: str) -> bool:
    """Return whether a number of inferences only follows from the model: such a recipe sets it for each of its models."""
    if name != "inferences":
        return False
    by_model: dict[str, set[str | None]] = defaultdict(set)
    for row, cell in zip(rows, cells, strict=True):
        by_model[str(row.get("FileName"))].add(cell.get(name))
    return all(len(values) == 1 for values in by_model.values())


def _prices(rows: Rows) -> list[str]:
    """Return the note that says what the cost is, and where its prices come from."""
    if not any(row.get("CostPer1000Samples") not in (None, "") for row in rows):
        return []
    devices: dict[str, dict[str, None]] = defaultdict(dict)
    for row, device in zip(rows, _devices(rows), strict=True):
        if row.get("PriceSource") and row.get("PricePerHour") not in (None, ""):
            devices[f"{number(row.get('PricePerHour'), 'g')} an hour by {text(row, 'PriceSource')}"][device.plain] = None
    said = [f"{price} of {_some(list(names))}" for price, names in devices.items()] if len(devices) > 1 else list(devices)
    return [f"Cost/1000 is the device's price for 1 000 samples: {', '.join(said)}"]


def _no_prices(rows: Rows) -> list[str]:
    """Return for each device whose price cannot be used why that is so."""
    sources = (
        f"{device.plain}: {text(row, 'PriceSource')}"
        for row, device in zip(rows, _devices(rows), strict=True)
        if row.get("PriceSource") and row.get("PricePerHour") in (None, "")
    )
    return list(dict.fromkeys(sources))


def _models(rows: Rows, *, in_names: bool) -> list[Text]:
    """Return each row's model name. If models share a name, the beginning of their SHA-256 is added.

    Args:
        in_names: whether the name ends with the row's parameters, because they have no columns of their own.
    """
    contents: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.get("ModelSha256"):
            contents[str(row.get("FileName"))].add(str(row["ModelSha256"]))
    shown = []
    for row in rows:
        alike = len(contents[str(row.get("FileName"))]) > 1 and row.get("ModelSha256")
        content = f" (sha256 {text(row, 'ModelSha256')[:SHORT_HASH]})" if alike else ""
        values = f", {text(row, 'Parameters')}" if row.get("Parameters") and in_names else ""
        shown.append(Text(f"{text(row, 'FileName')}{content}{values}"))
    return shown


def _devices(rows: Rows) -> list[Text]:
    """Return each row's device name. If devices share a name, the beginning of their worker's id is added."""
    labels = device_labels((str(row["WorkerId"]), text(row, "DeviceName")) for row in rows if row.get("WorkerId") and row.get("DeviceName"))
    return [Text(labels.get(str(row.get("WorkerId")), text(row, "DeviceName")) if row.get("DeviceName") else "") for row in rows]


def _few_inferences(row: Mapping[str, Any]) -> list[str]:
    notes = []
    taken = int(row.get("Inferences") or 0)
    for name, floor in (("p90", PERCENTILE_FLOORS["p90"][1]), ("p99", PERCENTILE_FLOORS["p99"][1])):
        if row.get(f"InferenceMs{name.upper()}") in (None, ""):
            notes.append(f"no {name}: {taken} inferences are too few; it takes {floor} (inferences × repeats)")
    return notes
