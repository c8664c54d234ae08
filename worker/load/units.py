"""Says what one request stands for in figures that do not count requests, such as bytes per second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _of_objects(client: Mapping[str, Any]) -> dict[str, float]:
    size = float(client["object_size_bytes"])
    return {"put_bytes_per_second": size, "get_bytes_per_second": size}


_OF_SERVICES: Mapping[str, Callable[[Mapping[str, Any]], dict[str, float]]] = {"minio": _of_objects}


def units_of(service_type: str, client: Mapping[str, Any]) -> dict[str, float]:
    """Return the units of a service's figures, by their names. A figure that counts requests is not among them.

    Args:
        client: The settings of the client, as a specification holds them.
    """
    return _OF_SERVICES[service_type](client) if service_type in _OF_SERVICES else {}
