from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client, sha256_of
from cli.submission import find_model, read_recipe, submit
from shared.errors import InvalidInput
from shared.recipes import load_recipe
from tests.unit.cli.scripted_server import ScriptedServer

ACCEPTED = {"campaign_id": "campaign-1", "total_jobs": 1, "jobs": [], "warnings": []}


def _submitted(server: ScriptedServer) -> dict[str, Any]:
    body = next(request.body for request in server.requests if request.path == "/api/campaigns")
    load_recipe(body.decode())  # the orchestrator reads it with the same words
    content: dict[str, Any] = json.loads(body)
    return content


def _scripted(server: ScriptedServer, *files: Path) -> None:
    server.on("POST /api/campaigns", ACCEPTED, status=201)
    server.on("POST /api/models", *[{"sha256": sha256_of(file)} for file in files], status=201)


def test_a_local_model_is_uploaded_and_named_by_its_hash(server: ScriptedServer, tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(b"weights")
    _scripted(server, model)
    recipe = load_recipe("{model: mine.onnx, on: [cpu.onnx], inferences: 7}")
    with Client(server.url) as client:
        assert submit(client, recipe, tmp_path)["campaign_id"] == "campaign-1"
    body = _submitted(server)
    sha256 = sha256_of(model)
    assert body["models"] == [{"model": f"sha256:{sha256}", "name": "mine.onnx", "sha256": sha256, "size": 7}]
    assert "model" not in body
    assert body["inferences"] == 7


def test_an_entrys_own_settings_stay_with_it(server: ScriptedServer, tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(b"weights")
    _scripted(server, model)
    recipe = load_recipe("{models: [{model: mine.onnx, name: ours, inferences: 3}, 'https://example.org/m.onnx'], on: [cpu.onnx]}")
    with Client(server.url) as client:
        submit(client, recipe, tmp_path)
    first, second = _submitted(server)["models"]
    assert (first["name"], first["inferences"]) == ("ours", 3)
    assert second == {"model": "https://example.org/m.onnx"}


def test_what_the_orchestrator_has_is_not_sent_again(server: ScriptedServer, tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(b"weights")
    server.on("POST /api/campaigns", ACCEPTED, status=201)
    server.on(f"HEAD /api/models/{sha256_of(model)}", {})
    with Client(server.url) as client:
        submit(client, load_recipe("{model: mine.onnx, on: [cpu.onnx]}"), tmp_path)
    assert [request.method for request in server.requests] == ["HEAD", "POST"]


def test_a_recorded_recipe_finds_its_model_by_content(server: ScriptedServer, tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(b"weights")
    sha256 = sha256_of(model)
    _scripted(server, model)
    recorded = f"{{models: [{{model: 'sha256:{sha256}', name: mine.onnx, sha256: {sha256}, size: 7}}], on: [cpu.onnx]}}"
    with Client(server.url) as client:
        submit(client, load_recipe(recorded), tmp_path)
    assert [request.body for request in server.requests if request.path == "/api/models"] == [b"weights"]
    model.write_bytes(b"other weights")
    server.requests.clear()
    with Client(server.url) as client:
        submit(client, load_recipe(recorded), tmp_path)
    assert [request.path for request in server.requests] == ["/api/campaigns"]  # not the same model: the orchestrator may have it


def test_external_data_travels_with_its_model(server: ScriptedServer, tmp_path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [5_000])
    weight = numpy_helper.from_array(np.ones(5_000, dtype=np.float32), "w")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [value], [value], initializer=[weight])
    model, weights = tmp_path / "model.onnx", tmp_path / "weights.bin"
    onnx.save(helper.make_model(graph), model, save_as_external_data=True, location=weights.name)
    _scripted(server, model, weights)
    with Client(server.url) as client:
        submit(client, load_recipe("{model: model.onnx, on: [cpu.onnx]}"), tmp_path)
    entry = _submitted(server)["models"][0]
    assert entry["companions"] == [{"name": "weights.bin", "sha256": sha256_of(weights), "size": 20_000}]


def test_a_recipe_without_local_models_is_sent_as_it_is_written(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("POST /api/campaigns", ACCEPTED, status=201)
    with Client(server.url) as client:
        submit(client, load_recipe("{model: 'https://example.org/m.onnx', on: ['CPU (ONNX)']}"), tmp_path)
    assert _submitted(server) == {"model": "https://example.org/m.onnx", "on": ["CPU (ONNX)"]}
    assert server.requests[0].headers["Idempotency-Key"]


def test_a_file_url_that_exists_here_is_this_machines_file(tmp_path: Path) -> None:
    model = tmp_path / "a model.onnx"
    model.write_bytes(b"x")
    assert find_model(model.as_uri(), tmp_path) == model
    assert find_model("file:///nowhere/here/but/on/the/device.onnx", tmp_path) is None


@pytest.mark.parametrize("source", ["https://example.org/m.onnx", "sha256:" + "0" * 64, "a-name-the-orchestrator-may-know"])
def test_what_is_not_on_this_machine_is_left_to_the_orchestrator(source: str, tmp_path: Path) -> None:
    assert find_model(source, tmp_path) is None


@pytest.mark.parametrize("source", ["./gone.onnx", "models/gone.onnx", "/gone.onnx"])
def test_a_path_without_a_file_is_an_error_that_names_it(source: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist on this machine"):
        find_model(source, tmp_path)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is a folder"):
        find_model(str(tmp_path), tmp_path)


def test_a_recipe_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        read_recipe(tmp_path / "gone.yaml")
    binary = tmp_path / "model.onnx"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InvalidInput, match="is it a recipe"):
        read_recipe(binary)


def test_files_of_values_travel_with_the_model_under_their_own_names(server: ScriptedServer, tmp_path: Path) -> None:
    """From the recipe's folder or the model's, of the recipe, an entry or a sweep, each once."""
    folder = tmp_path / "models"
    folder.mkdir()
    model, mask, other, swept = folder / "mine.onnx", tmp_path / "mask.npz", folder / "other.npy", tmp_path / "long.npz"
    for number, file in enumerate((model, mask, other, swept)):
        file.write_bytes(b"content" * (number + 1))
    _scripted(server, model, mask, other, swept)
    recipe = load_recipe(
        "{models: [{model: models/mine.onnx, options: {values: {y: other.npy, z: 3}}}], on: [cpu.onnx], "
        "options: {values: {x: mask.npz, t: [a.txt]}}, sweep: {options.values.x: [mask.npz, long.npz]}}"
    )
    with Client(server.url) as client:
        submit(client, recipe, tmp_path)
    (entry,) = _submitted(server)["models"]
    assert entry["companions"] == [
        {"name": file.name, "sha256": sha256_of(file), "size": file.stat().st_size} for file in (mask, other, swept)
    ]


@pytest.mark.parametrize("name", ["missing.npz", "../outside.npz"])
def test_a_file_of_values_that_is_not_there_or_outside_is_refused_before_anything_is_sent(
    server: ScriptedServer, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "mine.onnx").write_bytes(b"weights")
    (tmp_path / "outside.npz").write_bytes(b"secret")
    recipe = load_recipe(f"{{model: mine.onnx, on: [cpu.onnx], options: {{values: {{x: {name}}}}}}}")
    with Client(server.url) as client, pytest.raises(InvalidInput, match=f"options.values names the file '{name}', which is neither in"):
        submit(client, recipe, folder)
    assert [request for request in server.requests if "models" in request.path] == []
