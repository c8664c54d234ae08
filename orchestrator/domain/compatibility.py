"""Decides which workers can run a job, and says what is missing at those that cannot. Placement and the API use the same function.

What a worker did not say about itself is not known, and never counts as missing (see `shared.adverts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.domain.work_needs import NO_NEEDS, WorkNeeds
from shared.adverts import Advert, model_key
from shared.capabilities import is_of_gpu, kinds_of, libraries_of
from shared.recipes import Requirements

TIGHT = 0.9  # a model that takes more of the memory than this leaves little for everything else
UNSAID = Advert()  # of a worker that says nothing about its abilities
PRECISIONS = {"float8": "FP8", "bfloat16": "BF16"}  # the precision of a GPU's matrix units that weights of a type need
REFUSED = frozenset({"float8"})  # types that the runtime converts to another one, on a device that does not know them


@dataclass(frozen=True)
class KnownWorker:
    """Holds what placement needs to know about a worker. `models` are the keys of those in its cache; see `shared.adverts`."""

    id: str
    device_name: str
    capabilities: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    memory_mb: float = 0
    gpu_memory_mb: float = 0
    max_block: int = 1  # how many jobs one message may hold for it
    advert: Advert = UNSAID
    models: frozenset[str] = frozenset()

    def has(self, needs: WorkNeeds) -> bool:
        """Return whether the model that the work needs is in its cache."""
        return bool(needs.model) and bool(self.models) and model_key(needs.model) in self.models


@dataclass(frozen=True)
class Compatibility:
    """Says whether a worker can run a job.

    Attributes:
        capability: the capability with which it would run it; empty if it cannot.
        missing_requirements: why it cannot, one text each.
        warnings: what is not known, or makes a result doubtful.
        supported_features: what it has of that which the work can use.
    """

    capability: str
    missing_requirements: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    supported_features: tuple[str, ...] = ()

    @property
    def can_run(self) -> bool:
        return bool(self.capability)


def usable_capability(
    worker: KnownWorker, capabilities: Sequence[str], device: str | None, requires: Requirements, needs: WorkNeeds = NO_NEEDS
) -> str | None:
    """Return the first of these capabilities with which the worker can run a job, or None if it cannot run it."""
    having = [one for one in capabilities if one in worker.capabilities]
    if not having or next(_lacks(worker, device, requires), None) is not None:
        return None
    return next((one for one in having if next(_lacks_for(worker, one, needs), None) is None), None)


def compatibility(
    worker: KnownWorker, capabilities: Sequence[str], device: str | None, requires: Requirements, needs: WorkNeeds = NO_NEEDS
) -> Compatibility:
    """Return whether a worker can run a job, and why not, what is doubtful, and what it has."""
    found = usable_capability(worker, capabilities, device, requires, needs)
    if found is not None:
        return Compatibility(found, (), tuple(_warnings(worker, found, needs)), tuple(_features(worker, found, needs)))
    having = [one for one in capabilities if one in worker.capabilities]
    missing = list(_lacks(worker, device, requires))
    if having:
        missing += dict.fromkeys(lack for one in having for lack in _lacks_for(worker, one, needs))
    else:
        missing.append(f"the capability {' or '.join(capabilities)}")
    return Compatibility("", tuple(missing), (), tuple(_features(worker, having[0], needs)) if having else ())


def _lacks(worker: KnownWorker, device: str | None, requires: Requirements) -> Iterator[str]:
    """Yield what a worker lacks of that which a recipe asks for."""
    if device is not None and device not in (worker.id, worker.device_name):
        yield f"it is not the device {device}"
    if worker.memory_mb < requires.min_memory_mb:
        yield f"{requires.min_memory_mb} MB of memory: it has {worker.memory_mb:.0f} MB"
    if worker.gpu_memory_mb < requires.min_gpu_memory_mb:
        yield f"{requires.min_gpu_memory_mb} MB of GPU memory: its largest GPU has {worker.gpu_memory_mb:.0f} MB"
    for name, value in requires.labels.items():
        if worker.labels.get(name) != value:
            yield f"the label {name}={value}" + (f": it has {name}={worker.labels[name]}" if name in worker.labels else "")


def _lacks_for(worker: KnownWorker, capability: str, needs: WorkNeeds) -> Iterator[str]:
    """Yield what a worker lacks to do the work of a job with a capability."""
    if capability not in worker.capabilities:
        yield f"the capability {capability}"
        return
    advert = worker.advert
    if needs.kind and advert.does(capability, needs.kind) is False:
        yield " and ".join(libraries_of(capability, needs.kind)) or f"work of the kind {needs.kind} on {capability}"
    if needs.service and not _can_start(advert, needs):
        yield f"a program for containers, to start {needs.service}" if needs.launcher == "container" else f"a server of {needs.service}"
    if needs.memory_mb is not None and (has := _memory(worker, capability)) and needs.memory_mb > has:
        where = ("memory of each GPU" if needs.gpus > 1 else "GPU memory") if is_of_gpu(capability) else "memory"
        yield f"{needs.memory_mb:.0f} MB of {where} for the model: it has {has:.0f} MB"
    if needs.gpus > 1 and is_of_gpu(capability) and 0 < len(worker.advert.gpus) < needs.gpus:
        yield f"{needs.gpus} GPUs: it has {len(worker.advert.gpus)}"
    if needs.dtype in REFUSED and _knows_precision(worker, capability, needs.dtype) is False:
        yield f"a GPU that computes in {PRECISIONS[needs.dtype]}: {_gpu_names(worker)} cannot"


def _can_start(advert: Advert, needs: WorkNeeds) -> bool:
    if needs.launcher == "container":
        return advert.containers is None or bool(advert.containers)
    return advert.services is None or needs.service in advert.services


def _memory(worker: KnownWorker, capability: str) -> float:
    """Return the memory in which a model would be, in MB; 0 if it is not known."""
    return worker.gpu_memory_mb if is_of_gpu(capability) else worker.memory_mb


def _knows_precision(worker: KnownWorker, capability: str, dtype: str) -> bool | None:
    """Return whether a GPU of the worker computes with a type of weights; None if that is not known, or no GPU would be used."""
    known = [gpu.precisions for gpu in worker.advert.gpus if gpu.precisions is not None]
    if not is_of_gpu(capability) or not known:
        return None
    return any(PRECISIONS[dtype] in precisions for precisions in known)


def _gpu_names(worker: KnownWorker) -> str:
    return ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in worker.advert.gpus)


def _warnings(worker: KnownWorker, capability: str, needs: WorkNeeds) -> Iterator[str]:
    if needs.kind and worker.advert.does(capability, needs.kind) is None:
        yield f"it does not say whether it has {' and '.join(libraries_of(capability, needs.kind))}: its version is an earlier one"
    if needs.service and (worker.advert.containers if needs.launcher == "container" else worker.advert.services) is None:
        yield f"it does not say whether it can start {needs.service}"
    has = _memory(worker, capability)
    if needs.model and needs.memory_mb is None:
        yield "how much memory the model takes is not known before a worker has fetched it"
    elif needs.memory_mb is not None and not has:
        yield "how much memory it has for the model is not known"
    elif needs.memory_mb is not None and needs.memory_mb > TIGHT * has:
        yield f"the model takes {needs.memory_mb:.0f} MB of its {has:.0f} MB, which leaves little for everything else"
    if needs.dtype in PRECISIONS and needs.dtype not in REFUSED and _knows_precision(worker, capability, needs.dtype) is False:
        yield f"{_gpu_names(worker)} has no matrix units for {PRECISIONS[needs.dtype]}, so computing in {needs.dtype} is slow there"
    if needs.dtype in REFUSED and not is_of_gpu(capability):
        yield f"a processor does not compute in {PRECISIONS[needs.dtype]}: the runtime may refuse the model or convert its weights"


def _features(worker: KnownWorker, capability: str, needs: WorkNeeds) -> Iterator[str]:
    advert = worker.advert
    kinds = (needs.kind,) if needs.kind else kinds_of(capability)
    said = (advert.work or {}).get(capability, {})
    # Without a kind, the work is the one that every worker with the capability can do. Its libraries are known if there is no other.
    libraries = said.get(kinds[0], {}) if len(kinds) == 1 else {}
    yield from (f"{name} {version}".strip() for name, version in libraries.items())
    if needs.service and needs.launcher == "container" and advert.containers:
        yield f"containers by {advert.containers}"
    elif needs.service and advert.services and needs.service in advert.services:
        yield f"starts {advert.services[needs.service] or needs.service}"
    if is_of_gpu(capability):
        for gpu in advert.gpus:
            yield f"{gpu.name}, {gpu.memory_mb:.0f} MB" + (f", {' '.join(sorted(gpu.precisions))}" if gpu.precisions else "")
    if worker.has(needs):
        yield "the model is in its cache"
