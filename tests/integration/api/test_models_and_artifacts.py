"""Bytes that come and go over HTTP: models by content, artifacts in pieces."""

from __future__ import annotations

import base64
import hashlib

import httpx
import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from shared.protocol.messages import Artifact
from tests.integration.reports import result, started

CONTENT = b"an onnx file, or so they say" * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()


def test_a_model_is_uploaded_found_and_fetched_by_its_hash(api: httpx.Client) -> None:
    assert api.head(f"/api/models/{SHA}").status_code == 404
    answer = api.post("/api/models?name=squeeze.onnx", content=(CONTENT[at : at + 999] for at in range(0, len(CONTENT), 999)))
    assert answer.status_code == 201
    assert answer.json() == {"sha256": SHA, "size": len(CONTENT), "name": "squeeze.onnx", "source": f"sha256:{SHA}"}
    assert api.head(f"/api/models/{SHA}").headers["Content-Length"] == str(len(CONTENT))
    assert api.get(f"/api/models/{SHA}").content == CONTENT
    rest = api.get(f"/api/models/{SHA}", headers={"Range": "bytes=1000-"})
    assert (rest.status_code, rest.content) == (206, CONTENT[1000:])


def test_an_uploaded_model_can_be_measured(api: httpx.Client) -> None:
    api.post("/api/models?name=squeeze.onnx", content=CONTENT)
    body = api.post("/api/campaigns", json={"model_url": f"sha256:{SHA}", "jobs": [{"compute_unit": "cpu.onnx"}]}).json()
    job = api.get(f"/api/jobs/{body['jobs'][0]['job_id']}").json()["job"]
    assert job["workload"]["model"] == {"source": f"sha256:{SHA}", "name": "squeeze.onnx", "sha256": SHA, "size": len(CONTENT)}


def test_an_upload_that_is_not_what_was_announced_is_refused(api: httpx.Client) -> None:
    answer = api.post(f"/api/models?name=m.onnx&sha256={'0' * 64}", content=CONTENT)
    assert (answer.status_code, SHA in answer.json()["detail"]) == (422, True)
    assert "curl --data-binary" in api.post("/api/models?name=m.onnx", content=b"").json()["detail"]
    form = api.post("/api/models?name=m.onnx", files={"file": b"x"})
    assert (form.status_code, "not as a form" in form.json()["detail"]) == (400, True)
    for name in ("", "../x", "a%2Fb", "%00"):
        assert api.post(f"/api/models?name={name}", content=b"x").status_code == 422, name


@pytest.fixture
def address(api: httpx.Client, ctx: Context) -> str:
    body = api.post("/api/campaigns", json={"model_url": "https://models.example/m.onnx", "jobs": [{"compute_unit": "cpu.onnx"}]}).json()
    job = body["jobs"][0]["job_id"]
    record(ctx, [started(job)])
    return f"/api/jobs/{job}/attempts/1/artifacts/samples.npz"


def put(api: httpx.Client, address: str, first: int, piece: bytes, total: int = len(CONTENT), sha256: str = SHA) -> httpx.Response:
    digest = "sha-256=" + base64.b64encode(bytes.fromhex(sha256)).decode()
    headers = {"Digest": digest, "Content-Range": f"bytes {first}-{first + len(piece) - 1}/{total}"}
    return api.put(address, content=piece, headers=headers)


def test_an_artifact_arrives_in_pieces_and_is_kept_with_its_result(api: httpx.Client, ctx: Context, address: str) -> None:
    assert api.head(address).headers["Upload-Offset"] == "0"
    assert put(api, address, 0, CONTENT[:1000]).json() == {"offset": 1000, "total": len(CONTENT), "complete": False}
    assert api.head(address).headers["Upload-Offset"] == "1000"
    assert put(api, address, 1000, CONTENT[1000:]).json()["complete"] is True
    assert api.head(address).headers["Upload-Offset"] == str(len(CONTENT))
    job = address.split("/")[3]
    report = result(job).model_copy(update={"artifacts": {"samples.npz": Artifact(sha256=SHA, size=len(CONTENT))}})
    record(ctx, [report])
    kept = ctx.settings.outputs_dir / job.rpartition("-job-")[0] / "samples" / f"{job}.npz"
    assert kept.read_bytes() == CONTENT
    late = put(api, address, 0, CONTENT)
    assert (late.status_code, "not wanted any more" in late.json()["detail"]) == (409, True)


def test_a_piece_that_does_not_fit_is_refused(api: httpx.Client, address: str) -> None:
    put(api, address, 0, CONTENT[:1000])
    gap = put(api, address, 2000, CONTENT[2000:3000])
    assert (gap.status_code, "1000 bytes are there" in gap.json()["detail"]) == (409, True)
    assert put(api, address, 0, CONTENT[:10], total=5).status_code == 400
    assert put(api, address, 0, b"x", total=2**31).status_code == 413
    for headers in ({"Digest": "md5=x", "Content-Range": "bytes 0-0/1"}, {"Digest": "sha-256=!", "Content-Range": "bytes 0-0/1"}):
        assert api.put(address, content=b"x", headers=headers).status_code == 400
    assert api.put(address, content=b"x", headers={"Digest": "x"}).status_code == 422


def test_an_artifact_with_another_hash_starts_again(api: httpx.Client, address: str) -> None:
    wrong = put(api, address, 0, CONTENT, sha256="0" * 64)
    assert (wrong.status_code, "from the beginning" in wrong.json()["detail"]) == (422, True)
    assert api.head(address).headers["Upload-Offset"] == "0"


def test_artifacts_of_attempts_and_names_there_are_not_are_refused(api: httpx.Client, address: str) -> None:
    assert put(api, address.replace("attempts/1", "attempts/2"), 0, CONTENT).status_code == 409
    assert put(api, address.replace("attempts/1", "attempts/0"), 0, CONTENT).status_code == 422
    assert put(api, address.replace("samples.npz", "..%2Fx"), 0, CONTENT).status_code == 404
    assert put(api, address.replace("samples.npz", "other.bin"), 0, CONTENT).status_code == 422
