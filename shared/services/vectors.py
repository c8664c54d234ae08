"""Defines what all vector databases have in common: the settings of their clients, their figures, and the two phases of a load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from shared.figures import FigureKind
from shared.services.base import MAX_REQUESTS, ClientSettings, Phase

MOST_VECTORS = 100_000_000
FIGURES: Mapping[str, FigureKind] = {
    "insert_vps": FigureKind("1/s", "higher", "vectors per second that were inserted"),
    "query_qps": FigureKind("1/s", "higher", "queries per second, each for the nearest vectors of one vector"),
    "insert_duration": FigureKind("s", "lower", "how long the inserts took"),
    "query_duration": FigureKind("s", "lower", "how long the queries took"),
    "index_wait_s": FigureKind("s", "lower", "how long the service took after the last insert until its index was complete"),
    "recall_at_k": FigureKind("", "higher", "the share of the nearest vectors of an exact search that the answers have; 1 is all of them"),
}


class VectorClient(ClientSettings):
    dim: int = Field(default=128, ge=1, le=65_536, description="how many numbers a vector has")
    num_queries: int = Field(
        default=100,
        ge=0,
        le=MAX_REQUESTS,
        description="how many queries each repeat sends, of all clients together; with 0, it only inserts",
    )
    top_k: int = Field(default=10, ge=1, le=10_000, description="how many nearest vectors a query asks for")
    batch_size: int = Field(default=100, ge=1, le=100_000, description="how many vectors one insert has at most")
    metric: Literal["cosine", "l2", "ip"] = Field(
        default="cosine", description="how the distance of two vectors is measured: by their angle, as Euclid, or by their inner product"
    )
    distribution: Literal["clustered", "normal"] = Field(
        default="clustered",
        description="how vectors are drawn: around 100 centres, as embeddings of texts lie, or each number from a normal distribution",
    )
    collection: str = Field(
        default="benchmark",
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]{1,61}[a-zA-Z0-9]$",
        description="the collection; a repeat makes it, and refuses one that Fleetmark has not made",
    )
    ef_construction: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="how many neighbours the index (HNSW) looks at when it is built; by default, the server decides",
    )
    max_neighbors: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="how many neighbours each vector has in the index (M of HNSW); by default, the server decides",
    )
    ef_search: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="how many neighbours a query looks at: more is slower and finds more; by default, the server decides",
    )
    index_timeout_s: float = Field(
        default=600.0, gt=0, le=86_400, description="how long the index may take after the inserts until it is complete, in seconds"
    )


def phases_of(client: VectorClient, size: int, size_setting: str, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
    """Return the phases of a load: all vectors are inserted once, then queries are sent. See `shared.services.base.ServiceKind.phases`.

    Args:
        size: how many vectors there are.
        size_setting: the name of the setting that says so.

    Raises:
        ValueError: a query asks for more vectors than there are.
    """
    if client.top_k > size:
        raise ValueError(f"`top_k` is {client.top_k}, and there are {size} vectors (`{size_setting}`); ask for as many at most")
    insert = Phase(name="insert", operations={"insert": 1.0}, count=-(-size // client.batch_size))
    if duration_s is not None:
        return insert, Phase(name="query", operations={"query": 1.0}, duration_s=duration_s)
    queries = count or client.num_queries
    return (insert, Phase(name="query", operations={"query": 1.0}, count=queries)) if queries else (insert,)
