"""Tests what the driver of S3 leaves alone, removes, refuses and counts, on a real S3 server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.request_records import STATUS, SUCCESS, WRONG
from tests.load_servers import HttpTruth, http_truth
from tests.one_lane import disconnected, sent
from tests.s3_server import S3Server
from tests.servers import free_port, running
from tests.tls import Authority
from worker.drivers.base import Work
from worker.drivers.minio import MinioDriver

SETTINGS = {"num_objects": 5, "object_size_bytes": 10_000}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running(S3Server) as made:
        yield made


def driver(address: str, secrets: dict[str, str] | None = None, **settings: Any) -> MinioDriver:
    made = MinioDriver(Work(address, SETTINGS | settings, "7", secrets=secrets or {}))
    made.begin({"put": 1, "get": 1}, "7")
    return made


def test_the_server_counts_the_bytes_that_the_figures_are_made_of(server: S3Server) -> None:
    made = driver(server.url, bucket="counted")
    asyncio.run(made.prepare())
    bytes_before, objects_before = server.counted_bytes(), server.counted_objects()
    reports = asyncio.run(sent(made, 40))
    bytes_moved, objects = server.counted_bytes() - bytes_before, server.counted_objects() - objects_before
    asyncio.run(made.clean())
    assert [report.failure for report in reports] == [SUCCESS] * 40
    assert {report.operation for report in reports} == {0, 1}
    assert objects == 40
    assert bytes_moved == 40 * SETTINGS["object_size_bytes"]


def test_the_population_is_there_and_every_object_is_another_one(server: S3Server) -> None:
    made = driver(server.url, bucket="population")
    prepared = asyncio.run(made.prepare())
    found = {key: content for key, content in server.objects().items() if key.startswith("population/fleetmark/object-")}
    assert (prepared["objects"], prepared["object_size_bytes"], len(found)) == (5, 10_000, 5)
    assert {len(content) for content in found.values()} == {10_000}
    assert len(set(found.values())) == 5
    asyncio.run(sent(made, 40))
    written = [content for key, content in server.objects().items() if key.startswith("population/fleetmark/written-")]
    assert len(set(written)) == len(written) == 5
    asyncio.run(made.clean())
    assert not (server.data / "population").exists(), "a bucket that was made is removed"


def test_a_bucket_of_somebody_else_is_refused_and_not_touched(server: S3Server) -> None:
    server.put("/theirs")
    server.put("/theirs/fleetmark/results.csv", b"precious")
    made = driver(server.url, bucket="theirs")
    with pytest.raises(EngineUnavailable, match=r"the bucket theirs at .* has objects and was not made by Fleetmark, so it is left"):
        asyncio.run(made.prepare())
    asyncio.run(made.clean())
    assert {key: content for key, content in server.objects().items() if key.startswith("theirs/")} == {
        "theirs/fleetmark/results.csv": b"precious"
    }


def test_an_empty_bucket_of_somebody_else_is_used_and_is_empty_afterwards(server: S3Server) -> None:
    server.put("/lent")
    made = driver(server.url, bucket="lent")
    asyncio.run(made.prepare())
    asyncio.run(sent(made, 10))
    asyncio.run(made.clean())
    assert (server.data / "lent").is_dir()
    assert [path for path in (server.data / "lent").rglob("*") if path.is_file()] == []


def test_what_a_load_that_died_has_left_is_removed_by_the_next_one(server: S3Server) -> None:
    asyncio.run(driver(server.url, bucket="again", num_objects=90).prepare())  # more than a few: by several connections
    assert len(list((server.data / "again" / "fleetmark").iterdir())) == 90
    after = driver(server.url, bucket="again", num_objects=3)
    asyncio.run(after.prepare())
    assert len(list((server.data / "again" / "fleetmark").iterdir())) == 3
    asyncio.run(after.clean())


@pytest.mark.parametrize(
    ("address", "secrets", "said"),
    [
        ("http://an-access-key:wrong-secret@{}", {}, r"with the access key an-a\*\*\* \(status 403\): SignatureDoesNotMatch"),
        ("http://nobody-here:a-secret-key@{}", {}, r"with the access key nobo\*\*\* \(status 403\): InvalidAccessKeyId"),
        ("http://{}", {"access_key": "an-access-key", "secret_key": "wrong-secret"}, r"access key an-a\*\*\*"),
        ("http://{}", {}, "without an access key"),
    ],
)
def test_a_wrong_key_is_refused_with_the_reason_and_without_the_key(
    server: S3Server, address: str, secrets: dict[str, str], said: str
) -> None:
    with pytest.raises(EngineUnavailable, match=said) as raised:
        asyncio.run(driver(address.format(f"127.0.0.1:{server.port}"), secrets).prepare())
    assert "secret" not in raised.value.detail
    assert "an-access-key" not in raised.value.detail


def test_keys_of_the_environment_open_an_address_without_any(server: S3Server) -> None:
    secrets = {"access_key": "an-access-key", "secret_key": "a-secret-key"}
    made = driver(f"http://127.0.0.1:{server.port}", secrets, bucket="environment")
    asyncio.run(made.prepare())
    asyncio.run(made.clean())


def test_an_address_with_a_path_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="has no path, and this one has '/benchmark'; write the bucket into `bucket`"):
        driver("http://127.0.0.1:9000/benchmark")


def test_a_server_without_tls_is_not_asked_for_it_in_vain(server: S3Server) -> None:
    async def prepare() -> None:
        with pytest.raises(OSError, match="does not speak TLS, or its certificate is not trusted on this device"):
            await driver(server.url, use_https=True).prepare()
        await disconnected(server.port)

    asyncio.run(prepare())


def test_tls_is_spoken_with_a_server_that_the_device_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "ca")
    server = S3Server(tmp_path, authority)
    server.start()

    async def load() -> None:
        made = driver(server.url, use_https=True)
        with pytest.raises(OSError, match="not trusted"):
            await made.prepare()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        await made.prepare()
        assert [report.failure for report in await sent(made, 10)] == [SUCCESS] * 10
        await made.clean()
        await disconnected(server.port)

    try:
        asyncio.run(load())
    finally:
        server.stop()


def answering(answer: bytes) -> Callable[[int], tuple[float, bytes | None]]:
    return lambda _number: (0.0, answer)


@pytest.mark.parametrize(
    ("answer", "failure", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", WRONG, "an object has 2 bytes, and it was written with 10000"),
        (
            b"HTTP/1.1 503 Slow\r\nContent-Length: 71\r\n\r\n<Error><Code>SlowDown</Code><Message>Wait &amp; see</Message></Error>OK",
            STATUS,
            "SlowDown: Wait & see",
        ),
    ],
)
def test_an_answer_that_is_not_the_object_is_a_failure_with_what_the_server_said(answer: bytes, failure: int, said: str) -> None:
    with http_truth(HttpTruth(answering(answer))) as truth:
        made = driver(f"http://127.0.0.1:{truth.port}")
        made.begin({"get": 1}, "7")
        assert [report.failure for report in asyncio.run(sent(made, 2))] == [failure] * 2
    assert made.said == said


def test_an_address_where_nobody_listens_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(driver(f"127.0.0.1:{free_port()}").prepare())
