"""Tests that every driver keeps its promises: one report for each request, no retry, no connection that nobody asked for.

The servers are real. A proxy between them and the driver counts connections, and cuts them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import psycopg
import pytest
import redis
from numpy.typing import NDArray

from shared.errors import EngineUnavailable
from shared.request_records import CLOSED, NOT_CONNECTED, TIMEOUT, record_type
from tests.load_servers import CuttingProxy, HttpTruth, http_truth
from tests.model_server import END, HEAD, ModelServer, Step, chunk, model_server, streamed
from tests.s3_server import LOGIN, S3Server
from tests.servers import PostgresServer, RedisServer, free_port, server_folder
from tests.triton_double import TritonDouble, triton_double
from tests.vector_servers import vector_server
from worker.drivers.base import Driver, Lane, Searcher, Work
from worker.drivers.registry import DRIVERS, resolve, why_not
from worker.load.arrivals import Shape
from worker.load.dispatcher import Dispatcher
from worker.load.plan import ClientPlan, PhasePlan
from worker.load.spool import Spool

CONNECTIONS, REQUESTS = 4, 200
OLLAMA: list[Step] = [
    (0, HEAD + chunk(b'{"message": {"content": "a"}, "done": false}\n')),
    (0, chunk(b'{"message": {"content": ""}, "done": true, "done_reason": "stop", "eval_count": 1}\n') + END),
]


@dataclass
class Case:
    """Holds a driver with a server. The servers of vectors are doubles, and all others are real.

    Attributes:
        asked: returns how many requests of the load that server has seen.
    """

    driver: str
    port: int
    address: Callable[[str], str]
    operations: dict[str, float]
    asked: Callable[[], int]
    settings: dict[str, Any] = field(default_factory=dict)
    more: int = 0  # connections that `prepare` opens besides the first one


@pytest.fixture(scope="module")
def cases() -> Iterator[dict[str, Case]]:
    openai, ollama = ModelServer(lambda _number: streamed(3)), ModelServer(lambda _number: OLLAMA)
    triton = TritonDouble()
    with (
        server_folder() as folder,
        http_truth(HttpTruth()) as truth,
        model_server(openai),
        model_server(ollama),
        triton_double(triton),
        vector_server("chroma") as chroma,
        vector_server("qdrant") as qdrant,
    ):
        for name in ("redis", "postgres", "s3"):
            (folder / name).mkdir(mode=0o755)
        of_redis, of_postgres = RedisServer(folder / "redis", append_only=False), PostgresServer(folder / "postgres")
        of_s3 = S3Server(folder / "s3")
        of_redis.start()
        of_s3.start()
        of_postgres.start()
        client = redis.Redis(port=of_redis.port)

        def commands() -> int:
            stats = client.info("commandstats")
            return sum(stats[f"cmdstat_{name}"]["calls"] for name in ("get", "set") if f"cmdstat_{name}" in stats)

        def rows() -> int:
            with psycopg.connect(f"host=127.0.0.1 port={of_postgres.port} user=postgres dbname=postgres") as connection:
                found = connection.execute("SELECT count(*) FROM stress_test WHERE id >= 100").fetchone()
                assert found is not None
                return int(found[0])

        postgres_settings = {"db_name": "postgres", "num_rows": 100}
        yield {
            "redis": Case("redis", of_redis.port, "redis://{}/0".format, {"get": 1, "set": 1}, commands, {"num_keys": 100}),
            "postgres": Case("postgres", of_postgres.port, "postgresql://{}".format, {"insert": 1}, rows, postgres_settings),
            "minio": Case(
                "minio",
                of_s3.port,
                f"http://{LOGIN}@{{}}".format,
                {"put": 1, "get": 1},
                of_s3.counted_objects,
                {"num_objects": 10, "object_size_bytes": 1_000},
            ),
            "chroma": Case(
                "chroma",
                chroma.port,
                "http://{}".format,
                {"insert": 1, "query": 1},
                lambda: chroma.loads,
                {"num_vectors": 20, "dim": 4, "batch_size": 1, "top_k": 3},
                more=1,
            ),
            "qdrant": Case(
                "qdrant",
                qdrant.port,
                "http://{}".format,
                {"insert": 1, "query": 1},
                lambda: qdrant.loads,
                {"num_points": 20, "dim": 4, "batch_size": 1, "top_k": 3},
                more=1,
            ),
            "http": Case("http", truth.port, "http://{}/".format, {"get": 1}, lambda: truth.requests),
            "openai": Case("openai", openai.port, "http://{}/v1".format, {"ask": 1}, lambda: len(openai.log), {"model": "tiny"}),
            "ollama": Case("ollama", ollama.port, "http://{}".format, {"ask": 1}, lambda: len(ollama.log), {"model": "tiny"}, more=1),
            # `prepare` asks whether it is ready, what the model is and how it is configured, sends one request, and asks for the version.
            "triton": Case(
                "triton", triton.port, "http://{}".format, {"infer": 1}, lambda: triton.inferences, {"model": "identity"}, more=4
            ),
        }
        client.close()
        of_redis.stop()
        of_s3.stop()
        of_postgres.stop()


@pytest.fixture(params=["redis", "postgres", "http", "minio", "chroma", "qdrant", "openai", "ollama", "triton"])
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


@dataclass
class Loaded:
    records: NDArray[np.void]
    opened: int
    accepted: int
    seen: int
    gave_up: str


def load(case: Case, folder: Path, hurt: Callable[[CuttingProxy], object] | None = None, timeout_s: float = 20.0) -> Loaded:
    """Send `REQUESTS` requests over `CONNECTIONS` connections through the proxy, in a closed loop."""

    async def run() -> Loaded:
        async with CuttingProxy(case.port) as proxy:
            plan = _plan(case, case.address(proxy.place), folder, timeout_s)
            driver = resolve(case.driver)(Work(plan.address, plan.settings, plan.seed))
            await driver.prepare()
            if DRIVERS[case.driver].searches:
                await cast("Searcher", driver).make_ready("insert")
            before = case.asked()
            driver.begin(case.operations, plan.seed)
            spool = Spool(folder / plan.spool_name(0))
            lanes: list[Lane] = []
            dispatcher = Dispatcher(plan, plan.phases[0], driver, spool, lanes)
            lanes += [await driver.open(dispatcher) for _ in range(CONNECTIONS)]
            if hurt is not None:
                hurt(proxy)
            await dispatcher.run(0)
            spool.close()
            for lane in lanes:
                lane.close()
            seen, proxy.silent = case.asked() - before, False
            accepted, opened = proxy.accepted, driver.opened
            await driver.clean()
            return Loaded(np.fromfile(folder / plan.spool_name(0), record_type()), opened, accepted, seen, dispatcher.gave_up)

    return asyncio.run(run())


def _plan(case: Case, address: str, folder: Path, timeout_s: float) -> ClientPlan:
    phase = PhasePlan("all", case.operations, Shape(), count=REQUESTS)
    return ClientPlan(case.driver, address, case.settings, (phase,), CONNECTIONS, 0, 1, "7", timeout_s, str(folder))


def test_each_request_is_recorded_once_and_none_opens_a_connection(case: Case, tmp_path: Path) -> None:
    done = load(case, tmp_path)
    assert len(done.records) == REQUESTS == done.seen
    assert set(done.records["failure"]) == {0}
    assert done.opened == done.accepted == CONNECTIONS + 1 + case.more  # `prepare` opens the additional one
    assert (done.records["last"] > 0).all()
    first = done.records["first"]
    assert np.isnan(first).all() or (first <= done.records["last"]).all()


def test_a_connection_that_is_cut_in_the_middle_of_an_answer_is_one_failure_and_one_new_connection(case: Case, tmp_path: Path) -> None:
    def cut_soon(proxy: CuttingProxy) -> None:
        proxy.cut_after = 50

    done = load(case, tmp_path, cut_soon)
    failures = done.records["failure"]
    assert failures[failures > 0].tolist() == [CLOSED]
    assert len(failures) == REQUESTS == done.seen  # the server has answered the one that was cut, and nothing was sent twice
    assert done.opened == done.accepted == CONNECTIONS + 2 + case.more


@pytest.mark.long
def test_a_server_that_falls_silent_is_a_timeout_for_each_request_in_flight(case: Case, tmp_path: Path) -> None:
    def silence(proxy: CuttingProxy) -> None:
        proxy.silent = True

    done = load(case, tmp_path, silence, timeout_s=0.3)
    failures = done.records["failure"].tolist()
    assert failures.count(TIMEOUT) >= CONNECTIONS
    assert set(failures) <= {TIMEOUT, NOT_CONNECTED}
    late = done.records["last"][done.records["failure"] == TIMEOUT] / 1e9
    assert late.min() >= 0.3
    assert len(failures) <= REQUESTS


def test_an_address_where_nobody_listens_is_refused_as_an_error_of_the_system(case: Case) -> None:
    driver = resolve(case.driver)(Work(case.address(f"127.0.0.1:{free_port()}"), case.settings))
    with pytest.raises(OSError, match=r"Connect call failed|[Rr]efused"):
        asyncio.run(_awaited(driver.prepare))


async def _awaited(call: Callable[[], Awaitable[object]]) -> object:
    return await call()


@pytest.mark.parametrize("name", list(DRIVERS))
def test_every_entry_has_the_methods_of_the_port_with_their_arguments(name: str) -> None:
    port = {key: inspect.signature(method) for key, method in vars(Driver).items() if inspect.isfunction(method) and key[0] != "_"}
    assert len(port) >= 5
    for method, wanted in port.items():
        assert list(inspect.signature(getattr(resolve(name), method)).parameters) == list(wanted.parameters), method


def test_an_unknown_driver_is_refused_with_the_nearest_one() -> None:
    assert "did you mean 'redis'" in why_not("rediss")
    with pytest.raises(EngineUnavailable, match="no driver for 'rediss'"):
        resolve("rediss")
