"""Makes the labels of devices that people see: the device's name, and part of its worker's id if two devices share that name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

SHORTEST = 4  # the smallest number of characters of an id that is shown, after `worker-`
_PREFIX = "worker-"


def device_labels(devices: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the label of each device by its worker's id.

    The label is the device's name. If devices share a name, the beginning of the worker's id follows, long enough to make the labels
    differ: `lab (worker-ab12)`.

    Args:
        devices: pairs of worker id and device name. A pair may occur more than once.
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
    """Return the smallest length at which the beginnings of all ids differ. It is at least the prefix plus `SHORTEST`."""
    length = len(_PREFIX) + SHORTEST
    while len({worker_id[:length] for worker_id in ids}) < len(ids):
        length += 1
    return length
