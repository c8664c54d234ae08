"""Tests what the drivers of vector databases make, leave alone, refuse and find out, on doubles that search exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import STATUS, SUCCESS, WRONG
from tests.load_servers import HttpTruth, http_truth
from tests.one_lane import Report, sent
from tests.vector_servers import Collection, vector_server
from worker.drivers import index_wait, vector_store
from worker.drivers.base import Work
from worker.drivers.registry import resolve
from worker.drivers.vector_store import VectorStore

KINDS = ("chroma", "qdrant")
SIZES = {"chroma": "num_vectors", "qdrant": "num_points"}


def driver(kind: str, port: int, *, size: int = 50, client: int = 0, clients: int = 1, **settings: Any) -> VectorStore:
    secrets = {"key": settings.pop("key")} if "key" in settings else {}
    chosen = {SIZES[kind]: size, "dim": 8, "top_k": 5, "batch_size": 8, "index_timeout_s": 5.0} | settings
    made = resolve(kind)(Work(f"http://127.0.0.1:{port}", chosen, f"7/{client}", client, clients, secrets))
    assert isinstance(made, VectorStore)
    return made


async def filled(made: VectorStore, inserts: int) -> list[Report]:
    await made.make_ready("insert")
    made.begin({"insert": 1}, "7/insert")
    return await sent(made, inserts)


async def queried(made: VectorStore, queries: int) -> list[Report]:
    await made.make_ready("query")
    made.begin({"query": 1}, "7/query")
    return await sent(made, queries)


async def whole_load(made: VectorStore, inserts: int = 7, queries: int = 20) -> list[Report]:
    await made.prepare()
    return await filled(made, inserts) + await queried(made, queries)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_server_has_a_recall_of_1_and_one_that_leaves_out_two_of_five_has_what_is_left(kind: str, metric: str) -> None:
    for wrong, expected in ((0, 5), (2, 3)):
        with vector_server(kind, wrong=wrong) as server:
            made = driver(kind, server.port, metric=metric)
            reports = asyncio.run(whole_load(made))
            found = made.findings()
            assert {report.failure for report in reports} == {SUCCESS}
            assert (found["right"], found["asked"], found["queries"], found["unreadable"]) == (20 * expected, 100, 20, 0)
            assert found["index"]["vectors"] == 50
            assert server.collections["benchmark"].metric == metric
            asyncio.run(made.clean())
            assert server.collections == {}


@pytest.mark.parametrize("kind", KINDS)
def test_client_processes_insert_every_vector_once_between_them(kind: str) -> None:
    with vector_server(kind) as server:
        several = [driver(kind, server.port, client=client, clients=3) for client in range(3)]
        asyncio.run(several[0].prepare())
        sizes = []
        for made, share in zip(several, (3, 2, 2), strict=True):  # seven batches
            before = len(server.collections["benchmark"].vectors)
            asyncio.run(filled(made, share))
            sizes.append(len(server.collections["benchmark"].vectors) - before)
        assert sorted(server.collections["benchmark"].vectors) == list(range(50))
        assert sum(sizes) == 50


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_ask_for_different_vectors(kind: str) -> None:
    with vector_server(kind) as server:
        first, second = (driver(kind, server.port, client=client) for client in (0, 1))
        first.begin({"query": 1}, "7/0/query")
        second.begin({"query": 1}, "7/1/query")
        asked = [{bytes(made.request(number)[1][0]) for number in range(100)} for made in (first, second)]
        assert len(asked[0]) == len(asked[1]) == 100
        assert not asked[0] & asked[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_collection_of_somebody_else_is_refused_and_left_alone(kind: str) -> None:
    with vector_server(kind) as server:
        server.collections["benchmark"] = Collection(64, "l2", {"owner": "them"}, vectors={1: [0.0] * 64})
        made = driver(kind, server.port)
        said = r"a collection benchmark that Fleetmark has not made.* Its vectors have 64 dimensions, and client.settings.dim is 8"
        with pytest.raises(EngineUnavailable, match=said):
            asyncio.run(made.prepare())
        asyncio.run(made.clean())
        assert server.collections["benchmark"].vectors == {1: [0.0] * 64}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_load_that_died_has_left_is_made_anew(kind: str) -> None:
    with vector_server(kind) as server:
        asyncio.run(whole_load(driver(kind, server.port, dim=3)))
        made = driver(kind, server.port)
        asyncio.run(whole_load(made))
        assert server.collections["benchmark"].dim == 8
        assert made.findings()["right"] == 100


def test_the_settings_of_the_index_reach_the_server() -> None:
    index: dict[str, Any] = {"metric": "l2", "ef_construction": 200, "max_neighbors": 32, "ef_search": 99}
    for kind, key, expected in (
        ("chroma", "configuration", {"hnsw": {"space": "l2", "ef_construction": 200, "max_neighbors": 32, "ef_search": 99}}),
        ("qdrant", "hnsw_config", {"ef_construct": 200, "m": 32}),
    ):
        with vector_server(kind) as server:
            asyncio.run(driver(kind, server.port, **index).prepare())
            assert server.created[-1][key] == expected
    assert b'"params": {"hnsw_ef": 99}' in driver("qdrant", 1, **index).query([0.0] * 8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_key_is_refused_and_shown_nowhere(kind: str) -> None:
    with vector_server(kind, key="the-right-one") as server:
        with pytest.raises(EngineUnavailable, match=r"status 401.*Invalid API key") as raised:
            asyncio.run(driver(kind, server.port, key="a-wrong-one").prepare())
        assert "a-wrong-one" not in raised.value.detail
        assert raised.value.detail.endswith(" of the worker's environment is not the right one")
        with pytest.raises(EngineUnavailable, match=f"There is no key in FLEETMARK_WORKER_{kind.upper()}_"):
            asyncio.run(driver(kind, server.port).prepare())
        asyncio.run(driver(kind, server.port, key="the-right-one").prepare())


@pytest.mark.parametrize("kind", KINDS)
def test_inserts_that_fail_are_failures_and_the_collection_stays_short(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_wait, "STILL_S", 0.1)
    with vector_server(kind, refuses_inserts=True) as server:
        made = driver(kind, server.port)
        asyncio.run(made.prepare())
        assert {report.failure for report in asyncio.run(filled(made, 7))} == {STATUS}
        assert "no space left on device" in made.said
        server.refuses_inserts = False
        asyncio.run(filled(made, 3))
        asyncio.run(queried(made, 5))
        assert made.findings()["index"]["vectors"] == 21  # 3 of 7 batches: 7 vectors each


def test_the_queries_wait_for_the_index_and_the_wait_is_told() -> None:
    with vector_server("qdrant", indexing_s=0.3) as server:
        made = driver("qdrant", server.port)
        asyncio.run(whole_load(made))
        index = made.findings()["index"]
        assert 0.2 < index["wait_s"] < 3
        assert index["said"] == "green, 50 vectors are in the index"
        server.indexing_s = 60
        slow = driver("qdrant", server.port, index_timeout_s=0.2)
        with pytest.raises(EngineUnavailable, match=r"not complete 0\.2 s after the inserts: 50 of 50 .*yellow.*index_timeout_s"):
            asyncio.run(whole_load(slow))


def answering(answer: bytes) -> Callable[[int], tuple[float, bytes | None]]:
    return lambda _number: (0.0, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))


@pytest.mark.parametrize(
    ("kind", "answer", "failure", "unreadable"),
    [
        ("chroma", b'{"error": "x", "OK": "OK', WRONG, 0),
        ("chroma", b'{"ids":[["1","two"]],"OK', SUCCESS, 1),
        ("qdrant", b'{"result":[],"status":"OK', WRONG, 0),
        ("qdrant", b'{"result":{"points":[{}]},"OK":"OK', SUCCESS, 1),
    ],
)
def test_an_answer_that_is_none_is_wrong_or_counted_as_unreadable(kind: str, answer: bytes, failure: int, unreadable: int) -> None:
    with http_truth(HttpTruth(answering(answer))) as truth:
        made = driver(kind, truth.port)
        made.begin({"query": 1}, "7")
        assert [report.failure for report in asyncio.run(sent(made, 3))] == [failure] * 3
    assert made.findings()["unreadable"] == 3 * unreadable


def test_a_health_check_of_chroma_makes_no_collection() -> None:
    with vector_server("chroma") as server:
        made = driver("chroma", server.port, check_only=True)
        assert asyncio.run(made.prepare()) == {"server": {"chroma_api": "1.0.0"}}
        made.begin({"heartbeat": 1}, "7")
        assert [report.failure for report in asyncio.run(sent(made, 4))] == [SUCCESS] * 4
        asyncio.run(made.clean())
        assert (server.loads, server.collections) == (4, {})


def test_more_vectors_than_fit_into_memory_and_a_path_in_the_address_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_store, "MOST_INSERT_BYTES", 3_999)
    with pytest.raises(ModelInvalid, match=r"50 vectors of 8 dimensions take .* GiB in each of 1 client processes; ask for fewer vectors"):
        driver("qdrant", 1).begin({"insert": 1}, "7")
    with pytest.raises(ModelInvalid, match="has no path, and this one has '/api/v2'"):
        resolve("chroma")(Work("http://127.0.0.1:1/api/v2"))


def test_the_doubles_refuse_what_the_servers_refuse() -> None:
    for kind, said in (("chroma", "Collection expecting embedding with dimension of 8, got 3"), ("qdrant", "expected dim: 8, got 3")):
        with vector_server(kind) as server:
            made = driver(kind, server.port)
            asyncio.run(whole_load(made))
            small = driver(kind, server.port, dim=3)
            asyncio.run(small.make_ready("insert"))
            small.begin({"insert": 1}, "7")
            assert {report.failure for report in asyncio.run(sent(small, 2))} == {STATUS}
            assert said in small.said
