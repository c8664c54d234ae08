"""Maps each type of service that a worker can start to its class. A new type needs one file beside this one, and one line here."""

from __future__ import annotations

import logging
from functools import cache

from shared.errors import EngineUnavailable
from worker.plug_ins import BrokenPlugIn, implementing
from worker.services.base import Service
from worker.services.programs import BrokenProgram

log = logging.getLogger(__name__)

FAKE = "fake"
SERVICES: dict[str, str] = {
    "redis": "worker.services.redis:RedisService",
    "postgres": "worker.services.postgres:PostgresService",
    "minio": "worker.services.minio:MinioService",
    "chroma": "worker.services.chroma:ChromaService",
    "qdrant": "worker.services.qdrant:QdrantService",
    "vllm": "worker.services.vllm:VllmService",
    "ollama": "worker.services.ollama:OllamaService",
    "triton": "worker.services.triton:TritonService",
    # Only tests use it. No recipe can ask for it.
    FAKE: "worker.services.fake:FakeService",
}


def resolve(name: str) -> Service:
    """Return the service of a type.

    Raises:
        EngineUnavailable: This worker cannot start such a service.
    """
    if name not in SERVICES:
        raise EngineUnavailable(f"this worker can start no service of the type {name!r}; give the `address` of one that runs")
    made: Service = implementing(Service, SERVICES[name])()
    return made


@cache
def startable() -> dict[str, str]:
    """Return the types of service that this device can start as a process, each with the version of its server program."""
    found: dict[str, str] = {}
    for name in sorted(SERVICES.keys() - {FAKE}):
        try:
            found[name] = resolve(name).version()
        except (BrokenProgram, BrokenPlugIn) as error:
            log.warning("this device is not offered for services of the type %s: %s", name, error.detail)
        except EngineUnavailable:
            continue  # most devices do not have most servers
        except Exception as error:  # noqa: BLE001 - a defect in one type of service must not keep the worker from starting
            log.warning("this device is not offered for services of the type %s: %s: %s", name, type(error).__name__, error)
    return found


def is_there(name: str) -> bool:
    """Return whether the server program of a type is on this device. One that does not say its version counts as there: it may be slow."""
    try:
        resolve(name).version()
    except BrokenProgram:
        return True
    except EngineUnavailable:
        return False
    return True
