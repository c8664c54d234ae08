"""Shows a comparison of two campaigns, as text for a terminal and as Markdown for a comment on a change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.tables import MISSING
from cli.terminal import shown
from shared.markdown import cell

STYLES = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "NEW": "cyan"}
PASS, FAIL = "PASS", "FAIL"
NAMES = ("title", "device", "compute_unit")  # what tells the jobs of a campaign apart
_BETTER = {"higher": "higher is better; ", "lower": "lower is better; "}
MODEL = "model"  # the fact that differs where the model has another version
MOST_NEW = 20  # the most jobs without a counterpart that are shown
TABLE_WIDTH = 140  # in a narrower terminal the reasons would be columns of single words


def verdict_line(found: Mapping[str, Any]) -> Text:
    """Return the overall verdict in one line."""
    return Text.assemble((found["verdict"], f"bold {STYLES.get(found['verdict'], '')}"), f": {shown(found['summary'])}")


def pairs(found: Mapping[str, Any], width: int) -> RenderableType:
    """Return the pairs, the worst first: as a table if it fits into `width` columns, else as a few lines for each pair."""
    return _table(found) if width >= TABLE_WIDTH else Group(*_blocks(found))


def _blocks(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    for pair in found["pairs"]:
        yield _block(pair, found["unit"])
    for one in _only_new(found):
        yield _block_of_new(one)


def _table(found: Mapping[str, Any]) -> Table:
    unit = found["unit"]
    made = Table(header_style="bold", title_justify="left")
    for heading in ("Verdict", "Job", "Device", "Where"):
        made.add_column(heading)
    for heading in (f"Baseline {unit}", f"Current {unit}", "Delta", "Interval", "p"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("Reason", min_width=30)
    for pair in found["pairs"]:
        made.add_row(
            Text(pair["verdict"], style=STYLES.get(pair["verdict"], "")),
            *(Text(shown(pair[name]) or MISSING) for name in NAMES),
            *_figures(pair),
            Text(shown(pair["reason"])),
        )
    for one in _only_new(found):
        names = (Text(shown(one[name]) or MISSING) for name in NAMES)
        made.add_row(Text(one["verdict"], style=STYLES["NEW"]), *names, *[MISSING] * 5, Text(shown(one["reason"])))
    return made


def _only_new(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the jobs that only the current campaign has. An orchestrator of an earlier version gives them no verdict."""
    known: list[dict[str, Any]] = found["only_current"][:MOST_NEW]
    return [{"verdict": "NEW", "reason": "BASE has no such job"} | one for one in known]


def _block_of_new(one: Mapping[str, Any]) -> RenderableType:
    names = " · ".join(shown(one[name]) for name in NAMES if one[name])
    return Group(Text.assemble((one["verdict"], f"bold {STYLES['NEW']}"), f"  {names}"), Text(f"  {shown(one['reason'])}"))


def _block(pair: Mapping[str, Any], unit: str) -> RenderableType:
    base, current, delta, interval, p = _figures(pair)
    names = " · ".join(shown(pair[name]) for name in NAMES if pair[name])
    lines = [Text.assemble((pair["verdict"], f"bold {STYLES.get(pair['verdict'], '')}"), f"  {names}")]
    if pair["effect"] is not None:
        lines.append(Text(f"  {base} → {current} {unit}, {delta} ({interval}), p {p}"))
    return Group(*lines, Text(f"  {shown(pair['reason'])}"))


def notes(found: Mapping[str, Any]) -> list[str]:
    """Return what stands below the table: scores, warnings, jobs without a counterpart, and what was left out."""
    warned: dict[str, int] = {}
    for pair in found["pairs"]:
        for warning in pair["warnings"]:
            warned[warning] = warned.get(warning, 0) + 1
    total = len(found["pairs"])
    lines = [said for pair in found["pairs"] for said in _scores(pair, several=total > 1)]
    lines += [f"{warning} (in {count} of {total} pairs)" if total > 1 else warning for warning, count in warned.items()]
    if found["only_current_total"] and MODEL not in found["allowed"] and any(pair["current_job"] is None for pair in found["pairs"]):
        lines.append("both campaigns have jobs without a counterpart; if NEW has another version of the model, add --allow-different model")
    if found["only_current_total"] > MOST_NEW:
        lines.append(f"{found['only_current_total']} jobs are only in NEW; the first {MOST_NEW} are listed")
    if found["pairs_total"] > total:
        lines.append(f"the first {total} of {found['pairs_total']} pairs")
    return lines


def _scores(pair: Mapping[str, Any], *, several: bool) -> list[str]:
    """Return how good the answers of both sides are. An orchestrator of an earlier version does not say it."""
    job = f"{shown(pair['title'])}: " if several else ""
    return [
        f"{job}{shown(one['name'])} {_score(one, 'baseline')} → {_score(one, 'current')} {shown(one['unit'])} "
        f"({_BETTER.get(one['better'], '')}no test compares it)"
        for one in pair.get("scores", ())
    ]


def _score(one: Mapping[str, Any], side: str) -> str:
    low, high = one[f"{side}_low"], one[f"{side}_high"]
    return _number(one[side]) + ("" if low is None else f" [{_number(low)} to {_number(high)}]")


def markdown(found: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown. Text from outside is escaped."""
    base, new, unit = found["baseline"], found["current"], found["unit"]
    lines = [
        f"**{found['verdict']}**: {cell(found['summary'], 500)}",
        "",
        f"{cell(found['metric'])} of `{new['campaign_id']}` ({cell(new['name'])}) against the baseline `{base['campaign_id']}` "
        f"({cell(base['name'])}, {base['created_at'][:10]}); threshold {_percent(found['max_regression'])}, level {found['level']:g}.",
        "",
        f"| verdict | job | device | where | baseline {unit} | current {unit} | delta | interval | p | reason |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for pair in found["pairs"]:
        parts = [cell(pair[name]) or MISSING for name in NAMES]
        lines.append(f"| {' | '.join([pair['verdict'], *parts, *_figures(pair), cell(pair['reason'], 500)])} |")
    for one in _only_new(found):
        parts = [cell(one[name]) or MISSING for name in NAMES]
        lines.append(f"| {' | '.join([one['verdict'], *parts, *[MISSING] * 5, cell(one['reason'], 500)])} |")
    said = notes(found)
    if said:
        lines += ["", *(f"- {cell(note, 500)}" for note in said)]
    return "\n".join([*lines, "", f"<details><summary>Method</summary>\n\n{cell(found['method'], 2_000)}\n\n</details>"]) + "\n"


def _figures(pair: Mapping[str, Any]) -> Sequence[str]:
    return (
        _number(pair["baseline"]),
        _number(pair["current"]),
        _signed(pair["effect"]),
        MISSING if pair["effect_low"] is None else f"{_signed(pair['effect_low'])} to {_signed(pair['effect_high'])}",
        _p(pair["p"] if pair["p_adjusted"] is None else pair["p_adjusted"]),
    )


def _number(value: float | None) -> str:
    """Return a figure with four significant digits: a difference of 1 % is then visible."""
    if value is None:
        return MISSING
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _signed(share: float | None) -> str:
    return MISSING if share is None else f"{share * 100:+.1f} %"


def _p(p: float | None) -> str:
    if p is None:
        return MISSING
    return f"{p:.2g}" if p >= 0.0001 else "< 0.0001"
