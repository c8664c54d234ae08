"""Tests uploads and downloads: models by SHA-256, artifacts in pieces."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete

from orchestrator.operations.artifacts import ACCEPTED
from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.store.tables import ModelFile
from shared.protocol.messages import Artifact
from tests import onnx_models
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
    known = {"source": f"sha256:{SHA}", "name": "squeeze.onnx", "sha256": SHA, "size": len(CONTENT), "companions": []}
    assert job["workload"]["model"] == known


@pytest.mark.parametrize("name", ["what?.onnx", "50%.onnx", "a#b.onnx", "a b.onnx", "a\\b.onnx", "😀" * 62 + ".onnx", "n" * 250 + ".onnx"])
def test_the_name_of_an_upload_is_shown_as_it_is(api: httpx.Client, name: str) -> None:
    source = api.post("/api/models", params={"name": name}, content=CONTENT).json()["source"]
    body = api.post("/api/campaigns", json={"model_url": source, "jobs": [{"compute_unit": "cpu.onnx"}]}).json()
    assert body["jobs"][0]["model"] == name


def test_an_upload_renames_no_earlier_one_of_the_same_bytes(api: httpx.Client) -> None:
    first, second, again = (
        api.post("/api/models", params={"name": name}, content=CONTENT).json() for name in ("a.onnx", "b.onnx", "a.onnx")
    )
    assert (first["name"], second["name"]) == ("a.onnx", "b.onnx")
    assert (first["source"], second["source"]) == (f"sha256:{SHA}", f"sha256:{SHA}?name=b.onnx")
    assert again == first
    jobs = [{"compute_unit": "cpu.onnx"}]
    shown = [api.post("/api/campaigns", json={"model_url": one["source"], "jobs": jobs}).json()["jobs"][0] for one in (first, second)]
    assert [job["model"] for job in shown] == ["a.onnx", "b.onnx"]
    workload = api.get(f"/api/jobs/{shown[1]['job_id']}").json()["job"]["workload"]
    assert workload["model"]["source"] == f"sha256:{SHA}"  # every worker knows the model by this source
    assert 'filename="a.onnx"' in api.get(f"/api/models/{SHA}").headers["Content-Disposition"]


def test_two_entries_of_the_same_bytes_keep_what_is_their_own(api: httpx.Client) -> None:
    source = api.post("/api/models?name=m.onnx", content=CONTENT).json()["source"]
    weights = [hashlib.sha256(content).hexdigest() for content in (b"one", b"other")]
    for content in (b"one", b"other"):
        api.post("/api/models?name=w.bin", content=content)
    sizes = {weights[0]: 3, weights[1]: 5}
    entries = [
        {"model": source, "name": "A", "options": {"threads": 1}, "companions": [{"name": "w.bin", "sha256": weights[0], "size": 3}]},
        {"model": source, "name": "B", "companions": [{"name": "w.bin", "sha256": weights[1], "size": 5}]},
        {"model": source, "inferences": 7},
    ]
    body = api.post("/api/campaigns", json={"models": entries, "on": ["cpu.onnx"]}).json()
    jobs = [api.get(f"/api/jobs/{job['job_id']}").json()["job"]["workload"] for job in body["jobs"]]
    assert [job["model"]["name"] for job in jobs] == ["A", "B", "m.onnx"]
    assert [job["options"]["threads"] for job in jobs] == [1, None, None]
    assert [job["inferences"] for job in jobs] == [10, 10, 7]
    beside = [[(one["name"], one["sha256"], one["size"]) for one in job["model"]["companions"]] for job in jobs]
    assert beside == [[("w.bin", sha256, sizes[sha256])] for sha256 in weights] + [[]]


@pytest.mark.parametrize(
    ("promise", "said"),
    [
        ({"sha256": "0" * 64}, f"it has the SHA-256 {SHA}, not the promised {'0' * 64}"),
        ({"size": 3}, f"it has {len(CONTENT)} bytes, not the promised 3"),
        ({"companions": [{"name": "w.bin", "sha256": "0" * 64, "size": 3}]}, f"no model with SHA-256 {'0' * 64} was uploaded"),
        (
            {"companions": [{"name": "w.bin", "sha256": SHA, "size": 3}]},
            f"its companion 'w.bin' has {len(CONTENT)} bytes, not the promised 3",
        ),
    ],
)
def test_what_an_entry_promises_of_an_upload_is_checked(api: httpx.Client, promise: dict[str, object], said: str) -> None:
    source = api.post("/api/models?name=m.onnx", content=CONTENT).json()["source"]
    body = {"models": ["https://models.example/m.onnx", {"model": source, **promise}], "on": ["cpu.onnx"]}
    answer = api.post("/api/campaigns", json=body)
    assert answer.status_code == 422
    [field] = answer.json()["fields"]
    assert field["path"] == "models.1"
    assert said in field["message"]


def test_what_an_entry_promises_of_a_url_goes_to_the_device_that_fetches_it(api: httpx.Client) -> None:
    promise = {"sha256": SHA, "size": 5, "companions": [{"name": "w.bin", "sha256": "1" * 64, "size": 3}]}
    for source in ("https://models.example/m.onnx", "file:///models/m.onnx", "hf://org/repo/m.onnx"):
        body = api.post("/api/campaigns", json={"models": [{"model": source, **promise}], "on": ["cpu.onnx"]}).json()
        model = api.get(f"/api/jobs/{body['jobs'][0]['job_id']}").json()["job"]["workload"]["model"]
        assert model == {"source": source, "name": "m.onnx", **promise}


def test_a_git_lfs_pointer_is_called_one(api: httpx.Client) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA}\nsize 12345\n".encode()
    answer = api.post("/api/models?name=m.onnx", content=pointer)
    assert (answer.status_code, "is a Git LFS pointer" in answer.json()["detail"]) == (422, True)
    assert "git lfs pull" in answer.json()["detail"]
    assert api.head(f"/api/models/{hashlib.sha256(pointer).hexdigest()}").status_code == 404
    longer = pointer + b"x" * 1024  # a pointer may have at most 1024 bytes according to the specification, so this is some other file
    assert api.post("/api/models?name=m.onnx", content=longer).status_code == 201


def test_a_model_known_by_name_is_taken_in_with_its_weights(api: httpx.Client, ctx: Context, tmp_path: Path) -> None:
    folder = ctx.settings.recipes_dir / "models"
    made = onnx_models.external(folder, location="weights/w.bin")
    made.rename(folder / "mine.onnx")
    body = api.post("/api/campaigns", json={"models": ["mine", {"model": "mine", "name": "again"}], "on": ["cpu.onnx"]}).json()
    jobs = [api.get(f"/api/jobs/{job['job_id']}").json()["job"]["workload"]["model"] for job in body["jobs"]]
    content = (folder / "weights" / "w.bin").read_bytes()
    weights = [{"name": "weights/w.bin", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}]
    assert [(job["name"], job["companions"]) for job in jobs] == [("mine.onnx", weights), ("again", weights)]
    assert api.get(f"/api/models/{weights[0]['sha256']}").content == content
    (folder / "weights" / "w.bin").unlink()
    refused = api.post("/api/campaigns", json={"model": "mine", "on": ["cpu.onnx"]}).json()
    assert "it keeps weights in 'weights/w.bin', which is not beside it" in refused["detail"]


def test_weights_of_a_model_known_by_name_may_be_promised_before_they_were_ever_taken_in(api: httpx.Client, ctx: Context) -> None:
    folder = ctx.settings.recipes_dir / "models"
    onnx_models.external(folder, location="w.bin").rename(folder / "mine.onnx")
    content = (folder / "w.bin").read_bytes()
    promise = {"name": "w.bin", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    wrong = {"models": [{"model": "mine", "companions": [promise | {"sha256": "0" * 64}]}], "on": ["cpu.onnx"]}
    assert "is not the promised one" in api.post("/api/campaigns", json=wrong).json()["detail"]
    ctx.store.transact(lambda session: session.execute(delete(ModelFile)))
    answer = api.post("/api/campaigns", json={"models": [{"model": "mine", "companions": [promise]}], "on": ["cpu.onnx"]})
    assert answer.status_code == 201, answer.text


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


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_file_that_a_result_may_have_can_be_uploaded(api: httpx.Client, address: str, name: str) -> None:
    """The records of more than 9 000 requests are too large for a message."""
    assert put(api, address.replace("samples.npz", name), 0, CONTENT).json()["complete"] is True


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


def test_an_upload_that_is_not_what_was_promised_leaves_nothing(ctx: Context, api: httpx.Client) -> None:
    answer = api.post("/api/models", params={"name": "m.onnx", "sha256": "0" * 64}, content=b"another model")
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidInput")
    assert not [path for path in ctx.settings.models_dir.rglob("*") if path.is_file()]
    with ctx.store.read() as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM models").scalar() == 0
