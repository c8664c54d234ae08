"""Says what this worker can do, in the form in which it registers; see `shared.adverts`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from shared.adverts import CONTAINERS, GPUS, SERVICES, WORK
from shared.workers import Registration
from worker.access import WHITE_BOX, Access
from worker.hardware import Hardware
from worker.kinds.registry import work_of
from worker.launchers.registry import container_program
from worker.services.registry import is_there, startable

log = logging.getLogger(__name__)


def abilities(hardware: Hardware, capabilities: Iterable[str], access: Access = WHITE_BOX) -> dict[str, Any]:
    """Return what placement reads beside the capabilities: kinds of work, services that can be started, and the GPUs."""
    return {
        WORK: {capability: work_of(capability) for capability in capabilities},
        SERVICES: startable() if access.starts_services else {},
        CONTAINERS: container_program() if access.starts_services else "",
        GPUS: [
            {
                "name": gpu.name,
                "memory_mb": round(gpu.memory_total_mb),
                "compute_capability": gpu.compute_capability,
                "precisions": list(gpu.supported_precisions) if gpu.compute_capability else None,
            }
            for gpu in hardware.gpus.devices
        ],
    }


def without_lost_servers(registration: Registration) -> Registration:
    """Look again which servers this device can start. Return the same registration if all those that it offers are still there."""
    offered: dict[str, str] = registration.hardware.get(SERVICES) or {}
    left = {name: version for name, version in offered.items() if is_there(name)}
    if left == offered:
        return registration
    gone = ", ".join(version for name, version in offered.items() if name not in left)
    log.warning("this device can no longer start %s, and offers it no longer; a restart of the worker looks for all servers again", gone)
    return registration.model_copy(update={"hardware": {**registration.hardware, SERVICES: left}})
