"""Tests the API's answers to invalid input: status, field and message. Nothing of such input is stored."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from orchestrator.api import make_api
from orchestrator.api.application import ROUTERS
from orchestrator.api.query import parameters
from orchestrator.operations.context import Context

JOB = {"compute_unit": "cpu.onnx"}
URL = "https://models.example/m.onnx"


def short(**job: Any) -> dict[str, Any]:
    return {"model_url": URL, "jobs": [JOB | job]}


# Each of these could be meant as an address with a login. The secret in it belongs to the caller, but it must not be shown on a screen.
ADDRESSES = [
    "https://user:p/SECRET@models.example/m.onnx",
    "https://us er:SECRET@models.example/m.onnx",
    'https://user:pa"SECRET@models.example/m.onnx',
    r"https:\\user:SECRET@models.example/m.onnx",
    "https:/user:SECRET@models.example/m.onnx",
    "https://user:SECRET\u2100@models.example/m.onnx",
    "hf://user:SECRET@org/repo/m.onnx",
    "file://user:SECRET@models.example/m.onnx",
    "ftp://user:pa'SECRET@models.example/m.onnx",
]

# Each case has a body, the path of the field that is wrong, and what the message says about it.
WRONG_CAMPAIGNS: list[tuple[Any, str, str]] = [
    ({"model_url": URL, "jobs": []}, "jobs", "needs at least 1, has 0"),
    ({"jobs": [JOB]}, "model_url", "is required"),
    (
        {"model_url": URL, "jobs": [{"compute_unit": "hardware.cpu"}]},
        "model_url",
        "measures the device itself and runs no model; leave it out",
    ),
    ({"jobs": [JOB, {"compute_unit": "hardware.cpu"}]}, "jobs", "a campaign has one kind of work"),
    (short(compute_unit="cpu.onx"), "jobs.0.compute_unit", "did you mean 'cpu.onnx'?"),
    (short(num_inference_runs=0), "jobs.0.num_inference_runs", "greater than or equal to 1, not 0"),
    (short(num_inference_runs=-1), "jobs.0.num_inference_runs", "greater than or equal to 1, not -1"),
    (short(num_inference_runs=10**9), "jobs.0.num_inference_runs", "less than or equal to 1000000, not 1000000000"),
    (short(num_inference_runs="ten"), "jobs.0.num_inference_runs", "valid integer, not 'ten'"),
    (short(num_inference_runs=1.5), "jobs.0.num_inference_runs", "valid integer, not 1.5"),
    (short(runs_per_job=None), "jobs.0.runs_per_job", "valid integer, not None"),
    (short(num_inference_run=5), "jobs.0.num_inference_run", "did you mean 'num_inference_runs'?"),
    (short(priority=10), "jobs.0.priority", "less than or equal to 9"),
    ({**short(), "model_url": "ftp://models.example/m.onnx"}, "model", "the scheme 'ftp' is not fetched; use http://, https://, file://"),
    ({**short(), "model_url": "http://[::1"}, "model", "it is no URL"),
    ({**short(), "model_url": "hf://repo/m.onnx"}, "model", "a file on a hub is written hf://org/repo[@revision]/path/to/model.onnx"),
    ({**short(), "model_url": "https://models.example/m.onnx\x1b[2J"}, "model_url", "control character"),
    ({**short(), "model_url": "file:///models/"}, "model", "it is a directory"),
    ({**short(), "model_url": "sha256:" + "0" * 64}, "model", "was uploaded; POST /api/models takes one"),
    ({"model": URL, "on": ["cpu.onnx"], "inferencs": 3}, "inferencs", "did you mean 'inferences'?"),
    ({"model": URL}, "on", "is missing; it says what a device must be able to do, such as [cpu.onnx]"),
    ({"model": URL, "on": ["cpu.onnx"], "devices": []}, "devices", "must not be empty"),
    ({"model": URL, "on": ["cpu.onnx"], "devices": ["x" * 201]}, "devices.0", "at most 200"),
    (
        {"model": URL, "on": ["cpu.onnx"], "sweep": {"options.threads": []}},
        "sweep.options.threads",
        "has no values, so there would be no job",
    ),
    ({"model": URL, "on": ["cpu.onnx"], "sweep": {"name": ["a", "b"]}}, "sweep.name", "all jobs of this sweep would be the same"),
    ({"model": URL, "on": ["cpu.onnx"], "sweep": {"model": [URL + "2"]}}, "sweep.model", "list them all under `models`"),
    ({"model": URL, "on": ["cpu.onnx"], "inferences": 10**6, "repeats": 1000}, "", "measure fewer, or split the job"),
    (short(num_inference_runs=10**6, runs_per_job=1000), "jobs.0", "measure fewer, or split the job"),
    ({"model": URL, "on": ["gpu"]}, "on.0", "unknown compute unit 'gpu'"),
    ({"model": URL, "on": ["cpu.onnx", "gpu.cuda.vllm"]}, "", "gpu.cuda.vllm is for the kind of work 'generation'"),
    (short(compute_unit="cpu.vllm"), "jobs", "cpu.vllm is for the kind of work 'generation', which the short form cannot describe"),
    ({"jobs": [{"compute_unit": "service.redis"}]}, "jobs", "send a recipe with `service`"),
]


def test_an_address_that_cannot_be_read_is_refused_and_its_secret_not_repeated(api: httpx.Client) -> None:
    for address in ADDRESSES:
        for body in ({**short(), "model_url": address}, {"models": [{"model": address}], "on": ["cpu.onnx"]}):
            answer = api.post("/api/campaigns", json=body)
            assert answer.status_code == 422, address
            assert answer.json()["fields"][0]["path"] in ("model", "models.0.model"), address
            assert "SECRET" not in answer.text
    assert api.get("/api/campaigns").json()["campaigns"] == []


def test_a_login_is_not_shown_where_what_was_sent_is_shown_in_part(api: httpx.Client) -> None:
    address = f"https://user:{'SECRET' * 20}@models.example/m.onnx"
    for body in ({**short(), "model_url": [address]}, {"model": [address], "on": ["cpu.onnx"]}):
        answer = api.post("/api/campaigns", json=body)
        assert answer.status_code == 422
        assert "https://***@" in answer.json()["fields"][0]["message"]
        assert "SECRET" not in answer.text


def test_an_address_with_a_login_is_shown_without_the_login(api: httpx.Client) -> None:
    for address, shown in {
        "https://user:pa'SECRET@models.example/m.onnx": "https://***@models.example/m.onnx",
        "https://user:p@SECRET@models.example/m.onnx": "https://***@models.example/m.onnx",
        "https://ghp_SECRET@models.example/m.onnx": "https://***@models.example/m.onnx",
        "https://user:SECRET@models.example": "https://***@models.example",
    }.items():
        for body in ({**short(), "model_url": address}, {"models": [{"model": address}], "on": ["cpu.onnx"]}):
            answer = api.post("/api/campaigns", json=body)
            assert answer.status_code == 201, answer.text
            campaign = answer.json()["campaign_id"]
            said = [api.get(f"/api/{path}") for path in (f"campaigns/{campaign}", "campaigns", f"jobs/{campaign}-job-1", "jobs")]
            assert said[0].json()["model_url"] == shown
            assert said[2].json()["job"]["workload"]["model"]["source"] == shown
            assert not [answer.url for answer in said if "SECRET" in answer.text]


def test_a_wrong_campaign_is_refused_with_the_field_and_what_to_do(api: httpx.Client) -> None:
    for body, path, said in WRONG_CAMPAIGNS:
        answer = api.post("/api/campaigns", json=body)
        assert answer.status_code == 422, body
        content = answer.json()
        assert content["error"] == "InvalidInput", body
        assert any(field["path"] == path and said in field["message"] for field in content["fields"]), content
        assert content["detail"]
    assert api.get("/api/campaigns").json()["count"] == 0
    assert api.get("/api/jobs").json()["count"] == 0


def test_every_mistake_is_named_at_once_and_ten_thousand_are_cut_short(api: httpx.Client) -> None:
    answer = api.post("/api/campaigns", json={"model_url": URL, "jobs": [{"compute_unit": "x"}] * 10_000}).json()
    assert len(answer["fields"]) == 100
    assert "(and 9999 more)" in answer["detail"]
    recipe = {"model": URL, "on": ["cpu.onnx"], "labels": {f"label-{number}": number for number in range(20_000)}}
    answer = api.post("/api/recipes/validate", json=recipe).json()
    assert len(answer["fields"]) == 100
    assert "(and 19999 more)" in answer["detail"]


# Each case has a body, a media type, the status, and words of the detail.
UNREADABLE: list[tuple[bytes, str, int, str]] = [
    (b"", "application/json", 400, "the body is empty"),
    (b'{"model_url": ', "application/json", 400, "the body is not JSON: EOF"),
    (b"name: x\nmodel: y\n", "application/x-www-form-urlencoded", 400, "the body is not JSON"),
    (b"[" * 100_000, "application/json", 400, "recursion"),
    (b"\xff", "application/json", 400, "the body is not JSON"),
    (b"\xff\xfe{\x00}\x00", "application/json", 400, "UTF-16; send it in UTF-8"),
    (b"[1, 2]", "application/json", 422, "must be a mapping"),
    (b"{}", "application/json", 422, "a campaign needs `model_url` and `jobs`"),
    (b'{"model_url": "a\\u0000b", "jobs": []}', "application/json", 422, "the character NUL"),
    (b'{"service": {"type": "mysql"}}', "application/json", 422, "mysql"),
    (b"model: [", "application/yaml", 422, "is not valid YAML"),
    (b"a: &x [1]\nb: *x\n", "application/yaml", 422, "aliases"),
    (b"[" * 20_000, "application/yaml", 422, "inside one another"),
    (b"x: 1" + b":59" * 175 + b".5", "application/yaml", 422, "on: "),  # YAML 1.1 would read this as a number to the base of 60
    (b"x: !!float 1" + b":59" * 200 + b".5", "application/yaml", 422, "no number that can be read"),
    (b"on: !!timestamp x", "application/yaml", 422, "line 1"),
    (b"x" * (2**20 + 1), "application/yaml", 413, "bytes of YAML; at most 1048576"),
    (b"\xff", "application/yaml", 400, "not UTF-8"),
    (b'notes: "a\\0b"\nmodel: https://models.example/m\non: [cpu.onnx]\n', "application/yaml", 422, "the character NUL"),
    (b'model: "a\\0b"\non: [cpu.onnx]\n', "application/yaml", 422, "model: line 1: holds the control character"),
]


def test_a_body_that_cannot_be_read_says_why(api: httpx.Client) -> None:
    for content, media_type, status, said in UNREADABLE:
        answer = api.post("/api/campaigns", content=content, headers={"Content-Type": media_type})
        assert answer.status_code == status, (content[:80], answer.text)
        assert said in answer.json()["detail"], content[:80]
    assert api.get("/api/campaigns").json()["count"] == 0


def test_what_is_not_there_is_a_404_in_the_one_shape(api: httpx.Client) -> None:
    unknown = "campaign-" + "0" * 18
    for method, path in (
        ("GET", "/api/workers/worker-nobody"),
        ("GET", "/api/workers/worker-nobody/health"),
        ("PUT", "/api/workers/worker-nobody/reset"),
        ("POST", "/api/workers/worker-nobody/heartbeat"),
        ("GET", "/api/workers/%00"),
        ("GET", f"/api/campaigns/{unknown}"),
        ("GET", f"/api/campaigns/{unknown}/results"),
        ("POST", f"/api/campaigns/{unknown}/cancel"),
        ("GET", "/api/campaigns/%00"),
        ("GET", "/api/campaigns/campaign-1' OR '1'='1"),
        ("GET", f"/api/jobs/{unknown}-job-1"),
        ("POST", f"/api/jobs/{unknown}-job-1/cancel"),
        ("GET", "/api/jobs/%F0%9F%92%A5"),
        ("GET", f"/api/models/{'0' * 64}"),
        ("GET", "/api/models/latest"),
        ("GET", "/api/nowhere"),
        ("GET", "/favicon.ico"),
    ):
        answer = api.request(method, path)
        assert answer.status_code == 404, (path, answer.text)
        assert answer.json().keys() == {"error", "detail"}
        assert answer.json()["error"] == "NotFound"


def test_a_method_a_path_does_not_have_names_those_it_has(api: httpx.Client) -> None:
    answer = api.delete("/api/campaigns")
    assert (answer.status_code, answer.json()["error"]) == (405, "MethodNotAllowed")
    assert answer.headers["Allow"] == "GET, POST"
    assert api.post("/docs").headers["Allow"] == "GET"
    assert api.delete("/api/tokens/current").status_code == 404
    assert api.put("/api/tokens/current").headers["Allow"] == "GET"


def test_filters_and_cursors_are_checked(api: httpx.Client) -> None:
    for path, field in (
        ("/api/jobs?status=done", "query.status"),
        ("/api/jobs?limit=0", "query.limit"),
        ("/api/jobs?limit=1001", "query.limit"),
        ("/api/jobs?limit=many", "query.limit"),
        ("/api/jobs?since=yesterday", "query.since"),
        ("/api/jobs?since=0", "query.since"),
        ("/api/jobs?since=0001-01-01T00:00:00%2B23:59", "query.since"),
        ("/api/jobs?campaign=%00", "query.campaign"),
        ("/api/jobs?worker=me", "query.worker"),
        ("/api/jobs?cursor=WzFd", "query.cursor"),
        ("/api/jobs?cursor=!", "query.cursor"),
        ("/api/campaigns?cursor=WyJhXHUwMDAwIl0", "query.cursor"),
        ("/api/campaigns?status=pending", "query.status"),
        ("/api/workers?status=asleep", "query.status"),
    ):
        answer = api.get(path)
        assert answer.status_code == 422, path
        assert [one["path"] for one in answer.json()["fields"]] == [field], path
    assert "did you mean 'cpu.onnx'?" in api.get("/api/workers?capability=cpu.onx").json()["detail"]


def test_a_misspelt_parameter_is_refused_and_not_ignored(api: httpx.Client) -> None:
    answer = api.get("/api/workers?statuss=busy&limit=3")
    assert answer.status_code == 422
    assert answer.json()["fields"] == [
        {"path": "query.statuss", "message": "unknown parameter 'statuss': did you mean 'status'? Known: capability, status"},
        {"path": "query.limit", "message": "unknown parameter 'limit': Known: capability, status"},
    ]
    refused = api.post("/api/campaigns?dry_run=true", json=short())
    assert (refused.status_code, "this call takes none" in refused.json()["detail"]) == (422, True)
    assert api.get("/metrics?name=x").status_code == 422
    assert api.get("/api/campaigns").json()["count"] == 0


def test_the_parameters_of_a_route_are_those_of_its_description(api: httpx.Client) -> None:
    described = api.get("/openapi.json").json()["paths"]
    compared = 0
    for route in (route for module in ROUTERS for route in module.router.routes):
        for method in route.methods:
            listed = described[route.path_format][method.lower()].get("parameters", ())
            schemas = {one["name"]: one["schema"] for one in listed if one["in"] == "query"}
            assert parameters(route) == {name: _takes_a_list(schema) for name, schema in schemas.items()}
            compared += len(schemas)
    assert compared > 30


def _takes_a_list(schema: dict[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in (schema, *schema.get("anyOf", ())))


def test_a_call_with_a_parameter_does_not_wait_for_the_description(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The description takes half a second to make, and all other calls would wait for it in the event loop."""

    def made() -> dict[str, Any]:
        raise AssertionError("the description was made")

    app = make_api(ctx)
    monkeypatch.setattr(app, "openapi", made)

    async def call() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
            return (await client.get("/api/workers?statuss=busy")).status_code

    assert asyncio.run(call()) == 422


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/openapi.json", 200), ("PUT", "/api/jobs", 405)])
def test_the_description_is_made_in_a_thread_of_its_own(ctx: Context, method: str, path: str, status: int) -> None:
    app = make_api(ctx)
    made, document = [], app.openapi

    def watched() -> dict[str, Any]:
        made.append(threading.get_ident())
        return document()

    app.openapi = watched  # type: ignore[method-assign]

    async def call() -> tuple[int, int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
            return (await client.request(method, path)).status_code, threading.get_ident()

    answered, loop = asyncio.run(call())
    assert answered == status
    assert made
    assert loop not in made


def test_two_values_for_a_parameter_that_takes_one_are_refused(api: httpx.Client) -> None:
    for path, name in (
        ("/api/jobs?status=complete&status=failed", "status"),
        ("/api/campaigns?limit=1&limit=2", "limit"),
        ("/api/workers?status=active&status=active", "status"),
    ):
        answer = api.get(path)
        assert answer.status_code == 422, path
        assert answer.json()["fields"] == [{"path": f"query.{name}", "message": "is given 2 times, and this call takes one value for it"}]
    assert api.get("/api/campaigns?label=a=1&label=b=2").status_code == 200


@pytest.mark.parametrize("query", ["model=%00", "device=a%00b", "cursor=campaign-0123456789abcdefgh-job-1/%00"])
def test_a_nul_in_a_query_is_refused_and_not_left_to_the_database(api: httpx.Client, query: str) -> None:
    """PostgreSQL has no NUL in a text, and answered with an error of its own: a 500."""
    answer = api.get(f"/api/figures?{query}")
    assert answer.status_code == 422, query
    assert "holds a NUL" in answer.json()["detail"]


def test_results_in_a_format_there_is_not_name_those_there_are(api: httpx.Client) -> None:
    campaign = api.post("/api/campaigns", json=short()).json()["campaign_id"]
    assert "did you mean 'json" in api.get(f"/api/campaigns/{campaign}/results?format=jsn").json()["detail"]


def test_a_wrong_registration_names_its_fields(api: httpx.Client) -> None:
    for body, path in (
        ({"capabilities": ["cpu.onnx"]}, "device_name"),
        ({"device_name": "", "capabilities": ["cpu.onnx"]}, "device_name"),
        ({"device_name": "x", "capabilities": []}, "capabilities"),
        ({"device_name": "x", "capabilities": ["cpu.onnx", "gpu.quantum"]}, "capabilities.1"),
        ({"device_name": "x", "capabilities": ["cpu.onnx"], "device_info": {"UDID": 7}}, "device_info.UDID"),
    ):
        answer = api.post("/api/register", json=body)
        assert answer.status_code == 422, body
        assert [one["path"] for one in answer.json()["fields"]] == [path]
    assert api.get("/api/workers").json()["count"] == 0


def test_what_is_kept_of_a_worker_is_bounded(api: httpx.Client) -> None:
    device = {"device_name": "x", "capabilities": ["cpu.onnx"]}
    for field in ("hardware", "device_info", "labels"):
        answer = api.post("/api/register", json=device | {field: {"much": "x" * 70_000}})
        assert (answer.status_code, answer.json()["fields"][0]["path"]) == (422, field)
    assert api.get("/api/workers").json()["count"] == 0
    worker = api.post("/api/register", json=device | {"hardware": {"much": "x" * 60_000}}).json()["worker_id"]
    beat = api.post(f"/api/workers/{worker}/heartbeat", json={"metrics": {"much": "x" * 70_000}})
    assert (beat.status_code, beat.json()["fields"][0]["path"]) == (422, "metrics")


def test_a_state_that_a_worker_cannot_have_is_refused(api: httpx.Client) -> None:
    worker = api.post("/api/register", json={"device_name": "x", "capabilities": ["cpu.onnx"]}).json()["worker_id"]
    asleep = api.put(f"/api/workers/{worker}/status", json={"status": "asleep"})
    assert (asleep.status_code, asleep.json()["fields"][0]["path"]) == (422, "status")
    assert api.put(f"/api/workers/{worker}/status", json={"status": "cleanup"}).json()["error"] == "IllegalTransition"


def test_a_number_that_json_cannot_give_back_is_refused_where_it_comes_in(api: httpx.Client) -> None:
    worker = api.post("/api/register", json={"device_name": "x", "capabilities": ["cpu.onnx"]}).json()["worker_id"]
    for number in ("NaN", "-Infinity", "1e999", "9" * 400):
        beat = api.post(f"/api/workers/{worker}/heartbeat", content=f'{{"metrics": {{"load": [0, {number}]}}}}')
        assert (beat.status_code, beat.json()["fields"][0]["path"]) == (422, "metrics.load.1"), number
        device = f'{{"device_name": "x", "capabilities": ["cpu.onnx"], "hardware": {{"memory_mb": {number}}}}}'
        assert api.post("/api/register", content=device).json()["fields"][0]["path"] == "hardware.memory_mb", number
    beat = api.post(f"/api/workers/{worker}/heartbeat", json={"metrics": {"serial": "9" * 400, "load": 1e300, "bytes": 2**64}})
    assert beat.status_code == 200
    assert [one["metrics"]["bytes"] for one in api.get("/api/workers").json()["workers"]] == [2**64]


def test_two_models_whose_names_are_longer_than_their_column_keep_different_names_and_their_ending(api: httpx.Client) -> None:
    names = set()
    for end in ("a", "b"):
        accepted = api.post("/api/campaigns", json=short() | {"model_url": f"https://models.example/{'m' * 300}{end}{'m' * 100}.onnx"})
        assert accepted.status_code == 201
        names.add(accepted.json()["jobs"][0]["model"])
    assert len(names) == 2
    assert all(len(name) <= 255 and name.startswith("m" * 190) and name.endswith("m.onnx") for name in names)


def test_a_header_that_cannot_be_read_is_the_client_s_mistake(api: httpx.Client) -> None:
    job = api.post("/api/campaigns", json=short()).json()["jobs"][0]["job_id"]
    headers = {b"Digest": b"sha-256=\xe9", b"Content-Range": b"bytes 0-0/1"}
    assert api.put(f"/api/jobs/{job}/attempts/1/artifacts/samples.npz", content=b"x", headers=headers).status_code == 400
    for origin in ("http://[", "null", "http://[::1"):
        assert api.get("/api/workers", headers={"Origin": origin}).status_code == 403


def test_a_range_beyond_the_end_is_refused_and_one_that_is_none_is_left_aside(api: httpx.Client) -> None:
    model = api.post("/api/models?name=m.onnx", content=b"0123456789").headers["Location"]
    assert api.get(model, headers={"Range": "bytes=2-4"}).content == b"234"
    for unread in ("items=0-1", "bytes", "bytes=", "bytes=5-1"):
        answer = api.get(model, headers={"Range": unread})
        assert (answer.status_code, answer.content) == (200, b"0123456789"), unread
    beyond = api.get(model, headers={"Range": "bytes=10-"})
    assert (beyond.status_code, beyond.json()["error"], beyond.headers["Content-Range"]) == (416, "RangeNotSatisfiable", "bytes */10")
    assert api.get("/docs-assets/swagger-ui.css", headers={"Range": "bytes=5-1"}).status_code == 200


def test_two_living_processes_of_one_device_are_a_conflict(api: httpx.Client) -> None:
    device = {"device_name": "x", "capabilities": ["cpu.onnx"], "device_info": {"UDID": "same"}}
    assert api.post("/api/register", json=device | {"incarnation": "one"}).status_code == 200
    clone = api.post("/api/register", json=device | {"incarnation": "two"})
    assert (clone.status_code, clone.json()["error"]) == (409, "IdentityInUse")
    assert "if this disk is a clone" in clone.json()["detail"]


def raw_status(api: httpx.Client, path: str) -> int:
    """Return the status of a GET whose path was not normalised by a client."""
    address = urlsplit(str(api.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_no_file_outside_outputs_can_be_downloaded(api: httpx.Client, ctx: Context, tmp_path: Path) -> None:
    outputs = ctx.settings.outputs_dir
    (outputs / "folder").mkdir(parents=True)
    (outputs / "plain.csv").write_text("here")
    (outputs / "folder" / "inside.csv").write_text("deeper")
    (outputs / ".hidden").write_text("hidden")
    (tmp_path / "secret.csv").write_text("secret")
    (outputs / "link.csv").symlink_to(tmp_path / "secret.csv")
    assert raw_status(api, "/api/results/download/plain.csv") == 200
    for name in (
        *("../secret.csv", "..%2fsecret.csv", "%2e%2e%2fsecret.csv", "..%252fsecret.csv", "folder/../plain.csv", "folder/inside.csv"),
        *("folder", "link.csv", ".hidden", "", ".", "..", "%00", "plain.csv%00", "..%5csecret.csv", "x" * 5000),
        *(str(tmp_path / "secret.csv"), f"%2f{tmp_path}/secret.csv"),
    ):
        assert raw_status(api, f"/api/results/download/{name}") == 404, name
    assert [one["filename"] for one in api.get("/api/results/files").json()["files"]] == ["plain.csv"]


def test_a_heartbeat_of_nonsense_changes_nothing(api: httpx.Client) -> None:
    worker = api.post("/api/register", json={"device_name": "x", "capabilities": ["cpu.onnx"]}).json()["worker_id"]
    for body in ('{"status": "gone"}', '{"metrics": [1]}', '{"current_job": 5}'):
        assert api.post(f"/api/workers/{worker}/heartbeat", content=body).status_code == 422, body
    assert json.loads(api.get(f"/api/workers/{worker}").text)["status"] == "active"


def test_a_parameter_that_is_written_wrongly_says_how_it_is_written(api: httpx.Client) -> None:
    for path, name, said in (
        ("/api/jobs?campaign=foo", "campaign", "'foo' is no id of a campaign, which is `campaign-` and 18 small letters and digits"),
        ("/api/jobs?worker=foo", "worker", "'foo' is no id of a worker, which is `worker-` and small letters, digits and hyphens"),
        ("/api/campaigns?label=team", "label.0", "'team' is no label; write it as name=value"),
        ("/api/jobs?since=yesterday", "since", "a moment is written 2026-03-01T12:00:00Z, not 'yesterday'"),
        ("/api/compare", "baseline", "is required"),
    ):
        assert api.get(path).json()["fields"][0] == {"path": f"query.{name}", "message": said}
