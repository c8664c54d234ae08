"""Finds out whether the devices of a sweep can be compared: only if each of them measured every cell of it.

If one device measured all cells with one thread and another device all cells with two, nobody knows whether the devices or the threads made
the difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from orchestrator.reports.inferences.figures import Figure, Pairs
from orchestrator.reports.parameters import written

MAX_NAMED = 3  # at most so many missing cells are named


def uncrossed(members: Sequence[Figure], every: Sequence[Figure] = ()) -> str:
    """Return why these jobs cannot be compared across devices, as a sentence, or an empty text if they can.

    A cell counts as measured on a device if it failed there: the device had its turn.

    Args:
        members: the measured jobs that would be compared.
        every: all jobs of the campaign. Those that failed are looked up here.
    """
    cells: dict[str, set[Pairs]] = defaultdict(set)
    for one in members:
        cells[one.where].add(one.cell)
    wanted = set().union(*cells.values())
    if len(cells) < 2 or len(wanted) < 2:
        return ""
    names = {one.name for one in members}
    tried = {(one.where, one.cell) for one in every if one.median is None and one.name in names}
    for kind, measured in cells.items():
        missing = [cell for cell in sorted(wanted - measured) if (kind, cell) not in tried]
        if missing:
            shown = ", ".join(f"({written(dict(cell))})" for cell in missing[:MAX_NAMED])
            more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
            return (
                f"the devices are not compared, because they did not measure the same cells ({kind} did not measure {shown}{more}), "
                "so a difference may come from the device or from the setting; run the sweep with `devices: one` or `devices: every`"
            )
    return ""
