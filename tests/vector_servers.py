"""Runs doubles of Chroma and of Qdrant: servers of the documented calls that our drivers use, which search exactly.

Qdrant could not be had where this was written, so its double is all that its driver has met. Chroma is real in `make test-services`.
A double refuses what the real server refuses: an unknown collection, a vector of another dimension, a wrong key.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tests.server_threads import http_thread

Vectors = dict[int, list[float]]


@dataclass
class Collection:
    dim: int | None
    metric: str
    metadata: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    aliases: list[str] = field(default_factory=list)
    vectors: Vectors = field(default_factory=dict)
    ready_at: float = 0.0  # when its index is complete, by `time.monotonic`

    def nearest(self, query: list[float], k: int) -> list[tuple[int, float]]:
        """Return the numbers and distances of the nearest vectors, by looking at every one."""
        numbers = list(self.vectors)
        if not numbers:
            return []
        rows, asked = np.array([self.vectors[number] for number in numbers], np.float32), np.array(query, np.float32)
        found: NDArray[np.float32]
        if self.metric == "l2":
            found = ((rows - asked) ** 2).sum(axis=1)
        elif self.metric == "cosine":
            found = 1 - rows @ asked / (np.linalg.norm(rows, axis=1) * np.linalg.norm(asked))
        else:
            found = 1 - rows @ asked
        return [(numbers[place], float(found[place])) for place in np.argsort(found, kind="stable")[:k]]


@dataclass
class VectorServer:
    """Holds what a double knows, and its mistakes.

    Attributes:
        key: the key that it asks for.
        wrong: how many of the nearest vectors it leaves out of every answer: it returns others in their place.
        indexing_s: how long its index takes after the last insert.
        refuses_inserts: whether every insert fails.
        loads: how many inserts and queries it has answered.
        created: what was asked for each collection that was made.
    """

    kind: str
    key: str = ""
    wrong: int = 0
    indexing_s: float = 0.0
    refuses_inserts: bool = False
    port: int = 0
    loads: int = 0
    collections: dict[str, Collection] = field(default_factory=dict)
    created: list[Any] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def found(self, collection: Collection, query: list[float], k: int) -> list[tuple[int, float]]:
        ranked = collection.nearest(query, k + self.wrong)
        return ranked[self.wrong :]


class _Refused(Exception):
    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status, self.name, self.message = status, name, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one write; otherwise the kernel waits for 40 ms between its head and its body
    server_of: ClassVar[VectorServer]
    key_header: ClassVar[str]

    def log_message(self, *_words: object) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        server = self.server_of
        try:
            if server.key and self.headers.get(self.key_header) != server.key:
                raise _Refused(401, "Unauthorized", "Invalid API key or JWT")
            with server.lock:
                status, answer = self.answer(self.command, [part for part in self.path.split("?")[0].split("/") if part], body)
        except _Refused as refused:
            status, answer = refused.status, self.refusal(refused)
        data = json.dumps(answer, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def answer(self, method: str, path: list[str], body: Any) -> tuple[int, Any]:
        raise NotImplementedError

    def refusal(self, refused: _Refused) -> Any:
        raise NotImplementedError

    def insert(self, collection: Collection, numbers: list[int], rows: list[list[float]], error: str) -> None:
        if self.server_of.refuses_inserts:
            raise _Refused(503, "ServiceUnavailable", "no space left on device")
        for row in rows:
            collection.dim = collection.dim or len(row)
            if len(row) != collection.dim:
                raise _Refused(400, "InvalidArgumentError", error.format(collection.dim, len(row)))
        collection.vectors.update(zip(numbers, rows, strict=True))
        collection.ready_at = time.monotonic() + self.server_of.indexing_s
        self.server_of.loads += 1


class ChromaHandler(_Handler):
    key_header = "x-chroma-token"
    WRONG_DIM = "Collection expecting embedding with dimension of {}, got {}"

    def answer(self, method: str, path: list[str], body: Any) -> tuple[int, Any]:
        known = self.server_of.collections
        if path[2:] == ["heartbeat"]:
            self.server_of.loads += 1
            return 200, {"nanosecond heartbeat": time.monotonic_ns()}
        if path[2:] == ["version"]:
            return 200, "1.0.0"
        rest = path[7:]  # api, v2, tenants, T, databases, D, collections
        if path[6:7] != ["collections"] or (method == "GET" and not rest):
            raise _Refused(404, "NotFoundError", f"{self.path} is no call that this double knows")
        if method == "POST" and not rest:
            self.server_of.created.append(body)
            made = Collection(None, body["configuration"]["hnsw"]["space"], body["metadata"])
            known[body["name"]] = made
            return 200, {"id": made.id, "name": body["name"], "metadata": made.metadata, "dimension": None}
        if len(rest) == 1:
            if rest[0] not in known:
                raise _Refused(404, "NotFoundError", f"Collection [{rest[0]}] does not exist")
            if method == "DELETE":
                del known[rest[0]]
                return 200, {}
            one = known[rest[0]]
            return 200, {"id": one.id, "name": rest[0], "metadata": one.metadata, "dimension": one.dim}
        collection = next((one for one in known.values() if one.id == rest[0]), None)
        if collection is None:
            raise _Refused(404, "NotFoundError", f"Collection [{rest[0]}] does not exist")
        if rest[1] == "add":
            self.insert(collection, [int(number) for number in body["ids"]], body["embeddings"], self.WRONG_DIM)
            return 201, {}
        if rest[1] == "count":
            return 200, len(collection.vectors)
        if rest[1] == "indexing_status":
            raise _Refused(500, "InternalError", "Method scout_logs is not implemented")
        (query,) = body["query_embeddings"]
        if len(query) != (collection.dim or len(query)):
            raise _Refused(400, "InvalidArgumentError", self.WRONG_DIM.format(collection.dim, len(query)))
        self.server_of.loads += 1
        found = self.server_of.found(collection, query, body["n_results"])
        return 200, {"ids": [[str(number) for number, _ in found]], "distances": [[distance for _, distance in found]]}

    def refusal(self, refused: _Refused) -> Any:
        return {"error": refused.name, "message": refused.message}


class QdrantHandler(_Handler):
    key_header = "api-key"
    METRICS: ClassVar[dict[str, str]] = {"Cosine": "cosine", "Euclid": "l2", "Dot": "ip"}
    WRONG_DIM = "Wrong input: Vector dimension error: expected dim: {}, got {}"

    def answer(self, method: str, path: list[str], body: Any) -> tuple[int, Any]:
        known = self.server_of.collections
        if not path:
            return 200, {"title": "qdrant - vector search engine", "version": "1.15.1"}
        if path == ["collections", "aliases"]:
            for action in body["actions"]:
                alias = action["create_alias"]
                known[alias["collection_name"]].aliases.append(alias["alias_name"])
            return self._done(True)
        if path[0] != "collections" or len(path) < 2:
            raise _Refused(404, "", f"{self.path} is no call that this double knows")
        name = path[1]
        if method == "PUT" and len(path) == 2:
            if name in known:
                raise _Refused(409, "", f"Wrong input: Collection `{name}` already exists!")
            self.server_of.created.append(body)
            known[name] = Collection(body["vectors"]["size"], self.METRICS[body["vectors"]["distance"]], {})
            return self._done(True)
        if name not in known:
            raise _Refused(404, "", f"Not found: Collection `{name}` doesn't exist!")
        collection = known[name]
        if path[2:] == ["aliases"]:
            return self._done({"aliases": [{"alias_name": alias, "collection_name": name} for alias in collection.aliases]})
        if method == "DELETE":
            del known[name]
            return self._done(True)
        if method == "GET":
            ready = time.monotonic() >= collection.ready_at
            return self._done(
                {
                    "status": "green" if ready else "yellow",
                    "optimizer_status": "ok",
                    "indexed_vectors_count": len(collection.vectors) if ready else 0,
                    "points_count": len(collection.vectors),
                    "segments_count": 2,
                    "config": {"params": {"vectors": {"size": collection.dim, "distance": "Cosine"}}},
                }
            )
        if path[2:] == ["points"]:
            self.insert(collection, body["batch"]["ids"], body["batch"]["vectors"], self.WRONG_DIM)
            return self._done({"operation_id": self.server_of.loads, "status": "completed"})
        if len(body["query"]) != collection.dim:
            raise _Refused(400, "", self.WRONG_DIM.format(collection.dim, len(body["query"])))
        self.server_of.loads += 1
        found = self.server_of.found(collection, body["query"], body["limit"])
        return self._done({"points": [{"id": number, "version": 0, "score": -distance} for number, distance in found]})

    def _done(self, result: Any) -> tuple[int, Any]:
        return 200, {"result": result, "status": "ok", "time": 0.0001}

    def refusal(self, refused: _Refused) -> Any:
        return {"status": {"error": refused.message}, "time": 0.0001}


HANDLERS: dict[str, type[_Handler]] = {"chroma": ChromaHandler, "qdrant": QdrantHandler}


@contextmanager
def vector_server(kind: str, **mistakes: Any) -> Iterator[VectorServer]:
    """Run a double in threads of its own."""
    made = VectorServer(kind, **mistakes)
    handler = type("Handler", (HANDLERS[kind],), {"server_of": made})

    with http_thread(handler) as made.port:
        yield made
