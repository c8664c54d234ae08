from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import Unavailable
from shared.protocol.messages import Artifact, Result
from tests.unit.worker.agent.http_double import Orchestrator, orchestrator
from tests.unit.worker.results import result
from worker.agent.uploads import CHUNK_BYTES, NotSent, Refused, Unwanted, Uploads

CONTENT = bytes(range(256)) * (CHUNK_BYTES // 256) * 2 + b"the rest"  # these bytes are sent as two full pieces and a small one


def described(content: bytes = CONTENT) -> Result:
    return result(artifacts={"samples.npz": Artifact(sha256=hashlib.sha256(content).hexdigest(), size=len(content))})


@pytest.fixture
def there() -> Iterator[Orchestrator]:
    with orchestrator() as state:
        yield state


@pytest.fixture
def uploads(there: Orchestrator) -> Iterator[Uploads]:
    client = Uploads(there.url, "secret")
    yield client
    client.close()


def test_a_file_arrives_whole_in_pieces(there: Orchestrator, uploads: Uploads, tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    path.write_bytes(CONTENT)
    given = described()
    uploads.send(given, "samples.npz", path)
    address = f"/api/jobs/{given.job_id}/attempts/1/artifacts/samples.npz"
    assert bytes(there.files[address]) == CONTENT
    assert [last - first + 1 for first, last in there.pieces] == [CHUNK_BYTES, CHUNK_BYTES, len(b"the rest")]


def test_a_broken_transfer_goes_on_where_it_broke(there: Orchestrator, uploads: Uploads) -> None:
    there.die_after_pieces = 1
    with pytest.raises(Unavailable):
        uploads.send(described(), "samples.npz", CONTENT)
    there.die_after_pieces = None
    uploads.send(described(), "samples.npz", CONTENT)
    assert [first for first, _ in there.pieces] == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]
    assert bytes(next(iter(there.files.values()))) == CONTENT


def test_what_is_there_already_is_not_sent_again(there: Orchestrator, uploads: Uploads) -> None:
    uploads.send(described(), "samples.npz", CONTENT)
    sent = len(there.pieces)
    uploads.send(described(), "samples.npz", CONTENT)
    assert len(there.pieces) == sent


@pytest.mark.parametrize(("status", "error"), [(409, Unwanted), (413, Refused), (503, NotSent), (401, NotSent)])
def test_an_answer_tells_whether_another_try_makes_sense(
    there: Orchestrator, uploads: Uploads, status: int, error: type[Unavailable]
) -> None:
    there.head_status = status
    with pytest.raises(Unavailable) as caught:
        uploads.send(described(), "samples.npz", CONTENT)
    assert type(caught.value) is error


@pytest.mark.parametrize(("status", "error"), [(409, NotSent), (422, NotSent), (404, Refused), (500, NotSent)])
def test_a_piece_that_does_not_fit_is_tried_again(there: Orchestrator, uploads: Uploads, status: int, error: type[Unavailable]) -> None:
    there.put_status = status
    with pytest.raises(Unavailable) as caught:
        uploads.send(described(), "samples.npz", CONTENT)
    assert type(caught.value) is error


def test_an_orchestrator_that_is_away_is_unavailable() -> None:
    client = Uploads("http://127.0.0.1:1", None)
    with pytest.raises(Unavailable, match="was not sent"):
        client.send(described(), "samples.npz", CONTENT)
    client.close()
