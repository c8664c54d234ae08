"""Drives Chroma by version 2 of its API. Vectors are sent as they are: the server computes no embedding and downloads no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from worker.drivers.vector_store import MADE, VectorStore

if TYPE_CHECKING:
    from worker.drivers.base import Work
    from worker.drivers.http_talk import HttpTalk

HEARTBEAT = 2
BASE = "/api/v2/tenants/{tenant}/databases/{database}/collections"
OURS: dict[str, Any] = {"num_vectors": 1_000, "tenant": "default_tenant", "database": "default_database", "check_only": False}


class ChromaDriver(VectorStore):
    """Drives one collection. With `check_only`, it asks only whether the server lives."""

    operations = ("insert", "query", "heartbeat")
    size_setting = "num_vectors"
    key_header = "x-chroma-token"
    key_variable = "FLEETMARK_WORKER_CHROMA_TOKEN"
    inserted = (200, 201)
    own_defaults = OURS

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._base = BASE.format(tenant=self.settings["tenant"], database=self.settings["database"])
        self._id = "unknown"
        self._heartbeat = self.address.request("GET", "/api/v2/heartbeat", self.headers)

    async def prepare(self) -> dict[str, Any]:
        if not self.settings["check_only"]:
            return await super().prepare()
        async with self.talk() as talk:
            return {"server": await self._server(talk)}

    async def clean(self) -> None:
        if not self.settings["check_only"]:
            await super().clean()

    async def _server(self, talk: HttpTalk) -> dict[str, str]:
        version = self.need(await talk.ask("GET", "/api/v2/version", headers=self.headers), (200,), "tell its version")
        return {"chroma_api": str(version)}

    async def make(self, talk: HttpTalk) -> dict[str, Any]:
        server = await self._server(talk)
        await self._remove_ours(talk, refuse=True)
        names = ("ef_construction", "max_neighbors", "ef_search")
        index = {name: self.settings[name] for name in names if self.settings[name] is not None}
        wanted = {
            "name": self.name,
            "metadata": {"fleetmark": MADE},
            "configuration": {"hnsw": {"space": self.settings["metric"], **index}},
            "get_or_create": False,
        }
        made = await talk.ask("POST", self._base, json.dumps(wanted).encode(), headers=self.headers)
        self.need(made, (200, 201), f"make the collection {self.name}")
        return server

    async def remove(self, talk: HttpTalk) -> None:
        await self._remove_ours(talk, refuse=False)

    async def _remove_ours(self, talk: HttpTalk, *, refuse: bool) -> None:
        target = f"{self._base}/{self.name}"
        there = await talk.ask("GET", target, headers=self.headers)
        if there.status == 404:
            return
        found = self.need(there, (200,), f"show the collection {self.name}")
        if (found.get("metadata") or {}).get("fleetmark") == MADE:
            self.need(await talk.ask("DELETE", target, headers=self.headers), (200, 204, 404), f"remove the collection {self.name}")
        elif refuse:
            raise self.refuse_foreign(found.get("dimension"))

    async def find(self, talk: HttpTalk) -> None:
        there = await talk.ask("GET", f"{self._base}/{self.name}", headers=self.headers)
        self._id = str(self.need(there, (200,), f"show the collection {self.name}")["id"])

    async def progress(self, talk: HttpTalk) -> tuple[int, bool, str]:
        """Return the count, and the state of the index where the server tells it.

        A server on one machine does not tell it. It brings its index up to date when it is asked for something, so one query is sent.
        """
        count = int(self.need(await talk.ask("GET", f"{self._base}/{self._id}/count", headers=self.headers), (200,), "count its vectors"))
        state = await talk.ask("GET", f"{self._base}/{self._id}/indexing_status", headers=self.headers)
        if state.status == 200:
            told = json.loads(state.body)
            return count, told["num_unindexed_ops"] == 0, f"{told['num_unindexed_ops']} operations are not indexed"
        one = self._body([0.0] * (int(self.settings["dim"]) - 1) + [1.0])
        asked = await talk.ask(
            "POST", f"{self._base}/{self._id}/query", one, headers=self.headers, patience_s=self.settings["index_timeout_s"]
        )
        self.need(asked, (200,), "answer a query")
        return count, True, "this server does not tell the state of its index; it has answered a query"

    def insert(self, numbers: range, rows: list[list[float]]) -> bytes:
        body = json.dumps({"ids": list(map(str, numbers)), "embeddings": rows}).encode()
        return self.address.request("POST", f"{self._base}/{self._id}/add", self.headers, body)

    def query(self, row: list[float]) -> bytes:
        return self.address.request("POST", f"{self._base}/{self._id}/query", self.headers, self._body(row))

    def _body(self, row: list[float]) -> bytes:
        return json.dumps({"query_embeddings": [row], "n_results": self.top_k, "include": ["distances"]}).encode()

    def request(self, number: int) -> tuple[int, Sequence[bytes | memoryview]]:
        if self.settings["check_only"]:
            return HEARTBEAT, (self._heartbeat,)
        return super().request(number)

    def is_usual(self, body: bytes) -> bool:
        return body.startswith(b'{"ids":[[')

    def found(self, answer: Any) -> list[int]:
        return [int(one) for one in answer["ids"][0]]

    def words_of(self, body: bytes) -> str:
        try:
            told = json.loads(body)
            return f"{told['error']}: {told['message']}"
        except (ValueError, TypeError, KeyError):
            return " ".join(body.decode(errors="replace").split())[:200]
