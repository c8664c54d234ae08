from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client, sha256_of
from cli.external_data import external_files
from cli.submission import entry_body, find_model, prepare, read_recipe, shown_name, submit
from shared.errors import InvalidInput
from shared.recipes import load_recipe
from tests import onnx_models
from tests.coreml_packages import FILES, package
from tests.unit.cli.scripted_server import ScriptedServer

ACCEPTED = {"campaign_id": "campaign-1", "total_jobs": 1, "jobs": [], "warnings": []}


def _submitted(server: ScriptedServer) -> dict[str, Any]:
    body = next(request.body for request in server.requests if request.path == "/api/campaigns")
    load_recipe(body.decode())  # the orchestrator reads the recipe with the same function
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
    # the file is not the recorded model, which the orchestrator may have
    assert [request.path for request in server.requests] == ["/api/campaigns"]


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
    """The files come from the folder of the recipe or of the model. A recipe, an entry or a sweep may name them, and each is sent once."""
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


@pytest.mark.parametrize(
    ("sweep", "sent"),
    [
        ("models.0.options.values.x: [a.npz, b.npz]", ["a.npz", "b.npz"]),
        ("models.0.options.values: [{x: a.npz}, {x: b.npz}]", ["a.npz", "b.npz"]),
        ("models.0.options: [{values: {x: a.npz}}, {batch_size: 2}]", ["a.npz"]),
        ("options: [{values: {x: a.npz}}, {values: {x: b.npz}}]", ["a.npz", "b.npz"]),
        ("models.1.options.values.x: [a.npz, b.npz]", []),  # these files belong to another model
    ],
)
def test_files_of_values_are_uploaded_wherever_a_sweep_names_them(
    server: ScriptedServer, tmp_path: Path, sweep: str, sent: list[str]
) -> None:
    for name in ("mine.onnx", "a.npz", "b.npz"):
        (tmp_path / name).write_bytes(name.encode())
    _scripted(server, *(tmp_path / name for name in ("mine.onnx", *sent)))
    recipe = load_recipe(f"{{models: [{{model: mine.onnx}}, 'https://example.org/m.onnx'], on: [cpu.onnx], sweep: {{{sweep}}}}}")
    with Client(server.url) as client:
        submit(client, recipe, tmp_path)
    companions = _submitted(server)["models"][0].get("companions", [])
    assert [companion["name"] for companion in companions] == sent


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


def test_a_path_counts_from_the_recipes_folder_wherever_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes, elsewhere = tmp_path / "recipes", tmp_path / "elsewhere"
    for folder in (recipes, elsewhere):
        (folder / "sub").mkdir(parents=True)
        for name in ("m.onnx", "sub/m.onnx"):
            (folder / name).write_bytes(folder.name.encode())
    monkeypatch.chdir(elsewhere)
    for source in ("./m.onnx", "m.onnx", "sub/m.onnx", "./sub/../m.onnx"):
        found = find_model(source, recipes)
        assert found is not None
        assert found.read_bytes() == b"recipes", source
    assert find_model(str(elsewhere / "m.onnx"), recipes) == elsewhere / "m.onnx"


@pytest.mark.parametrize("source", ["./m.onnx", "m.onnx", "sub/m.onnx"])
def test_a_file_of_the_current_folder_alone_is_not_taken_silently(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes, elsewhere = tmp_path / "recipes", tmp_path / "elsewhere"
    recipes.mkdir()
    (elsewhere / "sub").mkdir(parents=True)
    (elsewhere / source).write_bytes(b"other")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(InvalidInput, match="is not in the recipe's folder") as caught:
        find_model(source, recipes)
    assert str((elsewhere / source).resolve()) in caught.value.detail


def test_a_recipe_behind_a_link_means_the_folder_it_was_named_in(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "real" / "r.yaml").write_text("model: ./m.onnx\non: [cpu.onnx]\n")
    (tmp_path / "here" / "r.yaml").symlink_to(tmp_path / "real" / "r.yaml")
    (tmp_path / "here" / "m.onnx").symlink_to(tmp_path / "real" / "weights.onnx")
    (tmp_path / "real" / "weights.onnx").write_bytes(b"x")
    recipe = tmp_path / "here" / "r.yaml"
    [(_, file)] = prepare(read_recipe(recipe), recipe.parent)
    assert file == tmp_path / "here" / "m.onnx"


def test_every_model_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "b.onnx").write_bytes(b"x")
    with pytest.raises(InvalidInput) as caught:
        prepare(load_recipe("{models: [./a.onnx, ./b.onnx, ./c.onnx], on: [cpu.onnx]}"), tmp_path)
    assert [field.path for field in caught.value.fields] == ["models.0", "models.2"]


@pytest.mark.parametrize("source", ["file://models/m.onnx", "file:///models/a.onnx#1.onnx", "file:///models/a?.onnx"])
def test_a_file_url_that_could_mean_another_file_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is no file: "):
        find_model(source, tmp_path)


def test_two_entries_of_one_file_stay_two(server: ScriptedServer, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"weights")
    _scripted(server, model)
    recipe = load_recipe(
        "{models: [{model: ./m.onnx, name: A, options: {threads: 1}}, {model: ./m.onnx, name: B}, m.onnx], on: [cpu.onnx]}"
    )
    with Client(server.url) as client:
        submit(client, recipe, tmp_path)
    known = {"model": f"sha256:{sha256_of(model)}", "sha256": sha256_of(model), "size": 7}
    assert _submitted(server)["models"] == [
        known | {"name": "A", "options": {"threads": 1}},
        known | {"name": "B"},
        known | {"name": "m.onnx"},
    ]


@pytest.mark.parametrize("name", ["what?.onnx", "50%.onnx", "a#b.onnx", "a b.onnx", "a\\b.onnx", "😀" * 62 + ".onnx", "n" * 250 + ".onnx"])
def test_the_name_of_a_file_is_kept_as_it_is(server: ScriptedServer, tmp_path: Path, name: str) -> None:
    model = tmp_path / name
    model.write_bytes(b"weights")
    _scripted(server, model)
    with Client(server.url) as client:
        submit(client, load_recipe(json.dumps({"model": f"./{name}", "on": ["cpu.onnx"]})), tmp_path)
    assert _submitted(server)["models"][0]["name"] == name
    [sent] = [request for request in server.requests if request.path.startswith("/api/models") and request.method == "POST"]
    assert sent.body == b"weights"


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(server: ScriptedServer, tmp_path: Path) -> None:
    model = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.onnx"))
    model.write_bytes(b"weights")
    assert shown_name(model) == "caf\ufffd\ufffd.onnx"
    _scripted(server, model)
    with Client(server.url) as client:
        recipe = load_recipe("{model: m, on: [cpu.onnx]}")
        body = entry_body(client, recipe, 0, recipe.entries()[0], model, tmp_path)
    assert body["name"] == "caf\ufffd\ufffd.onnx"


@pytest.mark.parametrize(
    ("promise", "said"),
    [
        ({"sha256": "0" * 64}, f"has the SHA-256 {hashlib.sha256(b'weights').hexdigest()}, not {'0' * 64}"),
        ({"size": 8}, "has 7 bytes, not 8"),
        ({"companions": [{"name": "w.bin", "sha256": "0" * 64, "size": 1}]}, "does not name the promised companion 'w.bin'"),
    ],
)
def test_a_local_file_that_is_not_the_promised_one_is_not_sent(
    server: ScriptedServer, tmp_path: Path, promise: dict[str, Any], said: str
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"weights")
    recipe = load_recipe(json.dumps({"models": [{"model": "./m.onnx", **promise}], "on": ["cpu.onnx"]}))
    with Client(server.url) as client, pytest.raises(InvalidInput, match=said):
        submit(client, recipe, tmp_path)
    assert server.requests == []


def test_a_git_lfs_pointer_is_called_one_before_it_is_sent(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n")
    with Client(server.url) as client, pytest.raises(InvalidInput, match=r"is a Git LFS pointer.*`git lfs pull`"):
        submit(client, load_recipe("{model: ./m.onnx, on: [cpu.onnx]}"), tmp_path)
    assert server.requests == []


def test_a_recorded_model_whose_weights_have_changed_since_is_another_model(tmp_path: Path) -> None:
    model = onnx_models.external(tmp_path, location="w.bin")
    weights = tmp_path / "w.bin"
    companion = {"name": "w.bin", "sha256": sha256_of(weights), "size": weights.stat().st_size}
    entry = {"model": f"sha256:{sha256_of(model)}", "name": model.name, "companions": [companion]}
    recipe = load_recipe(json.dumps({"models": [entry], "on": ["cpu.onnx"]}))
    assert [file for _, file in prepare(recipe, tmp_path)] == [model]
    weights.write_bytes(bytes(weights.stat().st_size))
    assert [file for _, file in prepare(recipe, tmp_path)] == [None]


def test_a_recorded_upload_is_found_by_the_name_in_its_source(tmp_path: Path) -> None:
    model = tmp_path / "what?.onnx"
    model.write_bytes(b"weights")
    recipe = load_recipe(json.dumps({"model": f"sha256:{sha256_of(model)}?name=what%3F.onnx", "on": ["cpu.onnx"]}))
    assert [file for _, file in prepare(recipe, tmp_path)] == [model]


@pytest.mark.parametrize(
    ("sweep", "first", "second"),
    [
        ("models.0.options.values.mask: [a.npz, b.npz]", ["a.npz", "b.npz"], []),
        ("models.0.options.values: [{mask: a.npz}]", ["a.npz"], []),
        ("models.1.options: [{values: {mask: b.npz}}, {threads: 1}, null]", [], ["b.npz"]),
        ("options: [{values: {mask: a.npz}}, {values: {mask: b.npz}}]", ["a.npz", "b.npz"], ["a.npz", "b.npz"]),
    ],
)
def test_swept_files_of_values_travel_with_the_models_that_use_them(
    server: ScriptedServer, tmp_path: Path, sweep: str, first: list[str], second: list[str]
) -> None:
    files = [tmp_path / name for name in ("m.onnx", "n.onnx", "a.npz", "b.npz")]
    for file in files:
        file.write_bytes(file.name.encode())
        server.on(f"HEAD /api/models/{sha256_of(file)}", {})  # the orchestrator already has all files
    _scripted(server)
    with Client(server.url) as client:
        submit(client, load_recipe(f"{{models: [m.onnx, n.onnx], on: [cpu.onnx], sweep: {{{sweep}}}}}"), tmp_path)
    assert [[one["name"] for one in entry.get("companions", [])] for entry in _submitted(server)["models"]] == [first, second]


def test_a_recorded_model_is_found_whose_values_are_in_the_recipes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes, models = tmp_path / "recipes", tmp_path / "models"
    for folder in (recipes, models):
        folder.mkdir()
    model, values = models / "m.onnx", recipes / "mask.npz"
    model.write_bytes(b"weights")
    values.write_bytes(b"values")
    monkeypatch.setattr("cli.submission.models_folder", lambda _: models)
    companion = {"name": values.name, "sha256": sha256_of(values), "size": values.stat().st_size}
    entry = {"model": f"sha256:{sha256_of(model)}", "name": model.name, "companions": [companion]}
    recipe = load_recipe(json.dumps({"models": [entry], "on": ["cpu.onnx"], "options": {"values": {"mask": values.name}}}))
    assert [file for _, file in prepare(recipe, recipes)] == [model]
    (models / values.name).write_bytes(b"values")
    values.write_bytes(b"others")  # the submission would take this file, so the recorded run could not be repeated
    assert [file for _, file in prepare(recipe, recipes)] == [None]


def test_a_package_is_uploaded_with_all_of_its_files_and_keeps_its_name(server: ScriptedServer, tmp_path: Path) -> None:
    folder = package(tmp_path / "net.mlpackage")
    manifest = folder / "Manifest.json"
    _scripted(server, manifest, *(folder / name for name in FILES))
    with Client(server.url) as client:
        submit(client, load_recipe("{model: net.mlpackage, on: [ane.coreml]}"), tmp_path)
    (entry,) = _submitted(server)["models"]
    assert (entry["model"], entry["name"]) == (f"sha256:{sha256_of(manifest)}", "net.mlpackage")
    assert [(one["name"], one["sha256"]) for one in entry["companions"]] == [(name, sha256_of(folder / name)) for name in FILES]
    assert [request.body for request in server.requests if request.path == "/api/models"] == [manifest.read_bytes(), *FILES.values()]


def test_a_folder_that_is_no_package_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "net.mlpackage").mkdir()
    with pytest.raises(InvalidInput, match=r"model '\./net\.mlpackage' does not exist on this machine \(.*Manifest\.json\)"):
        find_model("./net.mlpackage", tmp_path)
    folder = package(tmp_path / "half.mlpackage", files={})
    with pytest.raises(InvalidInput, match=r"half\.mlpackage.* names 'Data/com\.apple\.CoreML/model\.mlmodel' in its manifest"):
        external_files(folder / "Manifest.json")


def test_the_folder_of_a_snapshot_is_uploaded_without_what_is_no_part_of_the_model(server: ScriptedServer, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny-llama"
    folder.mkdir(parents=True)
    content = {"config.json": '{"model_type": "llama"}', "model.safetensors": "weights", "tokenizer.json": "{}", "README.md": "read me"}
    for name, text in content.items():
        (folder / name).write_text(text)
    config = folder / "config.json"
    _scripted(server, config, folder / "model.safetensors", folder / "tokenizer.json")
    with Client(server.url) as client:
        submit(client, load_recipe("{model: models/tiny-llama, on: [cpu.torch], prompts: {output_tokens: 8}}"), tmp_path)
    body = _submitted(server)
    (entry,) = body["models"]
    assert (entry["model"], entry["name"]) == (f"sha256:{sha256_of(config)}", "tiny-llama")
    assert [one["name"] for one in entry["companions"]] == ["model.safetensors", "tokenizer.json"]
    assert body["prompts"] == {"output_tokens": 8}


def test_a_snapshot_with_pickled_weights_is_refused_before_anything_is_uploaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InvalidInput, match=r"keeps its weights in 'pytorch_model\.bin', a format that can run code"):
        external_files(tmp_path / "config.json")
