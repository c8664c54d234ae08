"""What a device is called where people read it: its name, and its worker's id where two devices share one name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

SHORTEST = 4  # characters of an id that are shown at least, after `worker-`
_PREFIX = "worker-"


def device_labels(devices: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the label of each device by its worker's id.

    A label is the device's name. Devices that share a name get as much of their id behind it as tells them apart:
    `lab (worker-ab12)`.

    Args:
        devices: pairs of a worker's id and its device's name; a pair may come more than once.
    """
    by_name: dict[str, set[str]] = defaultdict(set)
    for worker_id, name in devices:
        by_name[name].add(worker_id)
    labels: dict[str, str] = {}
    for name, ids in by_name.items():
        if len(ids) == 1:
            labels |= dict.fromkeys(ids, name)
        else:
            length = _distinct_length(ids)
            labels |= {worker_id: f"{name} ({worker_id[:length]})" for worker_id in ids}
    return labels


def _distinct_length(ids: set[str]) -> int:
    """Return the smallest length, `SHORTEST` or more behind the prefix, at which the beginnings of the ids all differ."""
    length = len(_PREFIX) + SHORTEST
    while len({worker_id[:length] for worker_id in ids}) < len(ids):
        length += 1
    return length
