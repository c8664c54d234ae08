"""Drives Qdrant over its REST API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shared.errors import EngineUnavailable
from worker.drivers.vector_store import VectorStore

if TYPE_CHECKING:
    from worker.drivers.base import Work
    from worker.drivers.http_talk import HttpTalk

OURS: dict[str, Any] = {"num_points": 10_000, "batch_size": 256}
DISTANCES = {"cosine": "Cosine", "l2": "Euclid", "ip": "Dot"}


class QdrantDriver(VectorStore):
    """Drives one collection. A second name (alias) of the collection says that it is ours."""

    size_setting = "num_points"
    key_header = "api-key"
    key_variable = "FLEETMARK_WORKER_QDRANT_API_KEY"
    own_defaults = OURS

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._target = f"/collections/{self.name}"
        self._mark = f"fleetmark-made-{self.name}"

    async def make(self, talk: HttpTalk) -> dict[str, Any]:
        told = self.need(await talk.ask("GET", "/", headers=self.headers), (200,), "tell its version")
        await self._remove_ours(talk, refuse=True)
        index = {"ef_construct": self.settings["ef_construction"], "m": self.settings["max_neighbors"]}
        wanted = {
            "vectors": {"size": int(self.settings["dim"]), "distance": DISTANCES[self.settings["metric"]]},
            "hnsw_config": {name: value for name, value in index.items() if value is not None},
        }
        made = await talk.ask("PUT", self._target, json.dumps(wanted).encode(), headers=self.headers)
        self.need(made, (200,), f"make the collection {self.name}")
        alias = {"actions": [{"create_alias": {"collection_name": self.name, "alias_name": self._mark}}]}
        marked = await talk.ask("POST", "/collections/aliases", json.dumps(alias).encode(), headers=self.headers)
        self.need(marked, (200,), f"mark the collection {self.name}")
        return {"qdrant": str(told.get("version", "of an unknown version"))}

    async def remove(self, talk: HttpTalk) -> None:
        await self._remove_ours(talk, refuse=False)

    async def _remove_ours(self, talk: HttpTalk, *, refuse: bool) -> None:
        there = await talk.ask("GET", self._target, headers=self.headers)
        if there.status == 404:
            return
        found = self.need(there, (200,), f"show the collection {self.name}")
        listed = self.need(await talk.ask("GET", f"{self._target}/aliases", headers=self.headers), (200,), "list its aliases")
        if self._mark in [one["alias_name"] for one in listed["result"]["aliases"]]:
            self.need(await talk.ask("DELETE", self._target, headers=self.headers), (200,), f"remove the collection {self.name}")
        elif refuse:
            vectors = found["result"]["config"]["params"].get("vectors") or {}
            raise self.refuse_foreign(vectors.get("size"))

    async def find(self, talk: HttpTalk) -> None:
        self.need(await talk.ask("GET", self._target, headers=self.headers), (200,), f"show the collection {self.name}")

    async def progress(self, talk: HttpTalk) -> tuple[int, bool, str]:
        """Return the points, and whether the optimizer has nothing more to do.

        Raises:
            EngineUnavailable: The server says that an operation failed.
        """
        told = self.need(await talk.ask("GET", self._target, headers=self.headers), (200,), "show the collection")["result"]
        optimizer = told["optimizer_status"]
        if told["status"] == "red" or optimizer != "ok":
            raise EngineUnavailable(
                f"the collection {self.name} at {self.address.place} is {told['status']}; its optimizer says {optimizer}"
            )
        indexed = told.get("indexed_vectors_count")
        return int(told.get("points_count") or 0), told["status"] == "green", f"{told['status']}, {indexed} vectors are in the index"

    def insert(self, numbers: range, rows: list[list[float]]) -> bytes:
        body = json.dumps({"batch": {"ids": list(numbers), "vectors": rows}}).encode()
        return self.address.request("PUT", f"{self._target}/points?wait=true", self.headers, body)

    def query(self, row: list[float]) -> bytes:
        asked: dict[str, Any] = {"query": row, "limit": self.top_k, "with_payload": False}
        if self.settings["ef_search"] is not None:
            asked["params"] = {"hnsw_ef": self.settings["ef_search"]}
        return self.address.request("POST", f"{self._target}/points/query", self.headers, json.dumps(asked).encode())

    def is_usual(self, body: bytes) -> bool:
        return b'"points":[' in body

    def found(self, answer: Any) -> list[int]:
        return [int(point["id"]) for point in answer["result"]["points"]]

    def words_of(self, body: bytes) -> str:
        try:
            return str(json.loads(body)["status"]["error"])
        except (ValueError, TypeError, KeyError):
            return " ".join(body.decode(errors="replace").split())[:200]
