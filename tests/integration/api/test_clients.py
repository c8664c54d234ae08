"""Tests the client that a user generates from the OpenAPI file. Also checks that the examples in the file are right."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType

from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from tests.integration.reports import result, started

PACKAGE = "generated_fleetmark_client"


@pytest.fixture
def document(api: httpx.Client) -> dict[str, Any]:
    content: dict[str, Any] = api.get("/openapi.json").json()
    return content


@pytest.fixture
def generated(document: dict[str, Any], tmp_path: Path) -> Iterator[str]:
    """Yield the name of the package that the generator has made."""
    source, target = tmp_path / "openapi.json", tmp_path / "made" / PACKAGE
    source.write_text(json.dumps(document))
    target.parent.mkdir()
    settings = ConfigFile(post_hooks=[])
    config = Config.from_sources(settings, MetaType.NONE, source, "utf-8", overwrite=False, output_path=target)
    said = [f"{error.header} {error.detail}" for error in generate(config=config)]
    # The generator does not know YAML, JSON lines and archives. These calls also accept JSON, or return their answers as bytes.
    unknown = re.compile(r"Unsupported content.type application/(yaml|x-ndjson|gzip)")
    assert [one for one in said if not unknown.search(one)] == []
    sys.path.insert(0, str(target.parent))
    try:
        yield PACKAGE
    finally:
        sys.path.remove(str(target.parent))
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


# The generator writes `1and`, which its formatter would correct. Python reads it, but gives a warning.
@pytest.mark.filterwarnings("ignore:invalid decimal literal")
def test_a_generated_client_has_every_call_and_submits_a_campaign(
    api: httpx.Client, ctx: Context, document: dict[str, Any], generated: str
) -> None:
    made = {path.stem for path in (Path(str(import_module(generated).__file__)).parent / "api").glob("*/*.py")} - {"__init__"}
    assert made == {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    models: Any = import_module(f"{generated}.models")
    client: Any = import_module(f"{generated}.client").Client(base_url=str(api.base_url), raise_on_unexpected_status=True)
    client.set_httpx_client(api)  # the fixture of `api` closes this client

    def call(tag: str, name: str, **arguments: Any) -> Any:
        return import_module(f"{generated}.api.{tag}.{name}").sync(client=client, **arguments)

    recipe = models.Recipe.from_dict({"name": "by a client", "model": "https://m.example/m.onnx", "on": ["cpu.onnx"], "labels": {"a": "b"}})
    accepted = call("campaigns", "submit_campaign", body=recipe)
    short = models.ShortCampaign.from_dict({"model_url": "https://m.example/m.onnx", "jobs": [{"compute_unit": "CPU (ONNX)"}]})
    assert call("campaigns", "submit_campaign", body=short).total_jobs == 1
    several = models.RecipeOfModels.from_dict(
        {"models": ["https://m.example/m.onnx", {"model": "https://m.example/n.onnx"}], "on": ["cpu.onnx"]}
    )
    assert call("campaigns", "submit_campaign", body=several).total_jobs == 2
    job = f"{accepted.campaign_id}-job-1"
    record(ctx, [started(job), result(job)])
    assert call("campaigns", "get_campaign", campaign_id=accepted.campaign_id).status == "completed"
    assert [one.campaign_id for one in call("campaigns", "list_campaigns", label=["a=b"]).campaigns] == [accepted.campaign_id]
    assert call("jobs", "get_job", job_id=job).result["InferenceMsMedian"] == pytest.approx(1.1)
    refused = call("campaigns", "get_campaign", campaign_id="campaign-none")
    assert refused.error == "NotFound"


def examples_of(document: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield every example of the document: its place, its schema and its value."""

    def inside(place: str, node: Any) -> Iterator[tuple[str, Any, Any]]:
        if isinstance(node, dict):
            if "schema" in node and "example" in node:
                yield place, node["schema"], node["example"]
            if isinstance(node.get("examples"), list):
                yield from ((place, {key: value for key, value in node.items() if key != "examples"}, one) for one in node["examples"])
            for name, inner in node.items():
                yield from inside(f"{place}/{name}", inner)
        elif isinstance(node, list):
            for number, inner in enumerate(node):
                yield from inside(f"{place}/{number}", inner)

    yield from inside("#", document)


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    found = list(examples_of(document))
    assert len(found) > 15
    for place, schema, example in found:
        errors = [error.message for error in jsonschema_rs.iter_errors({**schema, "components": document["components"]}, example)]
        assert errors == [], place


def test_the_api_takes_every_example_of_a_body(api: httpx.Client, ctx: Context, document: dict[str, Any]) -> None:
    device = api.post(
        "/api/register", json=document["paths"]["/api/register"]["post"]["requestBody"]["content"]["application/json"]["example"]
    )
    worker = device.raise_for_status().json()["worker_id"]
    short = document["paths"]["/api/campaigns"]["post"]["requestBody"]["content"]["application/json"]["example"]
    campaign = api.post("/api/campaigns", json=short).raise_for_status().json()["campaign_id"]
    ids = {"campaign_id": campaign, "worker_id": worker, "job_id": f"{campaign}-job-1"}
    tried = 0
    # The first token ends open access, and a reset deletes everything else, so these calls come last.
    calls = sorted(document["paths"].items(), key=lambda item: ("/tokens" in item[0], "/reset" in item[0]))
    for path, operations in calls:
        for method, operation in operations.items():
            for media, body in operation.get("requestBody", {}).get("content", {}).items():
                if "example" not in body:
                    continue
                example = body["example"]
                if path == "/api/tokens":
                    example = example | {"role": "admin"}  # the first token must be an administrator's
                text = yaml.safe_dump(example) if "yaml" in media else json.dumps(example)
                text = text.replace("worker-0123456789ab", worker)
                api.put(f"/api/workers/{worker}/reset")  # this undoes the state in which an earlier example has left the worker
                answer = api.request(method, path.format(**ids), content=text, headers={"Content-Type": media})
                assert answer.status_code < 300, (method, path, answer.text)
                tried += 1
    assert tried >= 12
