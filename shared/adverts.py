"""Defines what a worker says about its abilities when it registers, in `hardware` of its registration.

A worker of an earlier version, and a device that is driven by REST alone, leave out some or all of it. What is left out is not known, and
what is not known never keeps a job away: such workers get the same jobs as before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

WORK, SERVICES, CONTAINERS, FRAMEWORKS, GPUS = "work", "services", "containers", "frameworks", "gpu_devices"  # the keys of `hardware`
MODELS = "models"  # the key of a heartbeat's metrics that lists the models in the worker's cache, by their keys
MOST_MODELS = 32  # how many models a worker lists, the last used first; every look at the fleet reads these lists
MOST_KEYS = 9 * MOST_MODELS  # a model is known by its content and by each address that it was fetched from
KEY_DIGITS = 16
MOST = 1_000  # how many entries of a mapping or a list are read


@dataclass(frozen=True)
class GpuAdvert:
    """Describes one GPU. `precisions` are those of its matrix units, such as `BF16`; it is None if they are not known."""

    name: str
    memory_mb: float
    compute_capability: str
    precisions: frozenset[str] | None


@dataclass(frozen=True)
class Advert:
    """Holds what a worker says about its abilities. None means that it did not say it.

    Attributes:
        work: for each capability, the kinds of work that it can really do with it, and for each kind the versions of its libraries.
        services: the types of service that it can start as a process, and the versions of the servers.
        containers: the name of its program for containers; empty if it has none.
        frameworks: the installed machine learning packages, and their versions.
        gpus: its GPUs.
    """

    work: Mapping[str, Mapping[str, Mapping[str, str]]] | None = None
    services: Mapping[str, str] | None = None
    containers: str | None = None
    frameworks: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[GpuAdvert, ...] = ()

    def does(self, capability: str, kind: str) -> bool | None:
        """Return whether the worker can do a kind of work with a capability; None if it did not say what it does with the capability."""
        kinds = None if self.work is None else self.work.get(capability)
        return None if kinds is None else kind in kinds


def advert_of(hardware: Mapping[str, Any]) -> Advert:
    """Return what a registration says about the worker's abilities. It may hold anything; what has another form counts as not said."""
    work = hardware.get(WORK)
    containers = hardware.get(CONTAINERS)
    devices = hardware.get(GPUS)
    return Advert(
        work=None if not isinstance(work, Mapping) else {name: _kinds(kinds) for name, kinds in _some(work) if isinstance(kinds, Mapping)},
        services=_texts(hardware.get(SERVICES)),
        containers=containers if isinstance(containers, str) else None,
        frameworks=_texts(hardware.get(FRAMEWORKS)) or {},
        gpus=tuple(found for one in devices[:MOST] if (found := _gpu(one)) is not None) if isinstance(devices, list) else (),
    )


def model_key(identity: str) -> str:
    """Return the short form in which a worker lists a model.

    Args:
        identity: the SHA-256 of the model's content, or the address that it was fetched from.
    """
    return hashlib.sha256(identity.encode()).hexdigest()[:KEY_DIGITS]


def models_of(metrics: Any) -> frozenset[str]:
    """Return the keys of the models that a heartbeat says are in the worker's cache; see `model_key`."""
    listed = metrics.get(MODELS) if isinstance(metrics, Mapping) else None
    return frozenset(one for one in listed[:MOST_KEYS] if isinstance(one, str)) if isinstance(listed, list) else frozenset()


def _some(content: Mapping[Any, Any]) -> Iterable[tuple[str, Any]]:
    return ((key, value) for key, value in list(content.items())[:MOST] if isinstance(key, str))


def _texts(value: Any) -> dict[str, str] | None:
    return {key: text for key, text in _some(value) if isinstance(text, str)} if isinstance(value, Mapping) else None


def _kinds(kinds: Mapping[Any, Any]) -> dict[str, dict[str, str]]:
    return {kind: _texts(libraries) or {} for kind, libraries in _some(kinds)}


def _gpu(value: Any) -> GpuAdvert | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return None
    memory, precisions = value.get("memory_mb"), value.get("precisions")
    return GpuAdvert(
        name=value["name"],
        memory_mb=float(memory) if isinstance(memory, int | float) and 0 <= memory < 1e12 else 0.0,
        compute_capability=str(value.get("compute_capability") or "")[:16],
        precisions=frozenset(one for one in precisions if isinstance(one, str)) if isinstance(precisions, list) else None,
    )
