"""Says what one request stands for in figures that do not count requests, such as bytes per second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.drivers.registry import figures_of
from worker.plug_ins import named


def bytes_of_object(client: Mapping[str, Any]) -> float:
    return float(client["object_size_bytes"])


def vectors_of_insert(client: Mapping[str, Any]) -> float:
    """Return how many vectors an insert has on average. Batches differ by at most one vector."""
    vectors: int = client["num_vectors"] if "num_vectors" in client else client["num_points"]
    return vectors / float(-(-vectors // client["batch_size"]))


def units_of(service_type: str, client: Mapping[str, Any]) -> dict[str, float]:
    """Return the units of a service's figures, by their names. A figure that counts requests is not among them.

    Args:
        client: The settings of the client, as a specification holds them.
    """
    return {name: named(one.unit)(client) for name, one in figures_of(service_type).items() if one.unit}


def facts_of_requests(service_type: str, client: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return what `requests.jsonl` says of each request besides its times, by the name of the operation."""
    inserted = units_of(service_type, client).get("insert_vps")
    if inserted is None:
        return {}
    dimension = float(client["dim"])
    return {"insert": {"num_vectors": inserted, "dimension": dimension}, "query": {"num_vectors": 1.0, "dimension": dimension}}
