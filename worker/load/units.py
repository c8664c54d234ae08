"""Says what one request stands for in figures that do not count requests, such as bytes per second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _of_objects(client: Mapping[str, Any]) -> dict[str, float]:
    size = float(client["object_size_bytes"])
    return {"put_bytes_per_second": size, "get_bytes_per_second": size}


def _of_vectors(size: int, batch_size: int) -> dict[str, float]:
    """Return how many vectors an insert has on average. Batches differ by at most one vector."""
    return {"insert_vps": size / -(-size // batch_size)}


_OF_SERVICES: Mapping[str, Callable[[Mapping[str, Any]], dict[str, float]]] = {
    "minio": _of_objects,
    "chroma": lambda client: _of_vectors(client["num_vectors"], client["batch_size"]),
    "qdrant": lambda client: _of_vectors(client["num_points"], client["batch_size"]),
}


def units_of(service_type: str, client: Mapping[str, Any]) -> dict[str, float]:
    """Return the units of a service's figures, by their names. A figure that counts requests is not among them.

    Args:
        client: The settings of the client, as a specification holds them.
    """
    return _OF_SERVICES[service_type](client) if service_type in _OF_SERVICES else {}


def facts_of_requests(service_type: str, client: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return what `requests.jsonl` says of each request besides its times, by the name of the operation."""
    inserted = units_of(service_type, client).get("insert_vps")
    if inserted is None:
        return {}
    dimension = float(client["dim"])
    return {"insert": {"num_vectors": inserted, "dimension": dimension}, "query": {"num_vectors": 1.0, "dimension": dimension}}
