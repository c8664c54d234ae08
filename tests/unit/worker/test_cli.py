from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.installation import how_to_install
from worker.cli import app
from worker.settings import WorkerSettings

run = CliRunner().invoke


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in WorkerSettings.model_fields:
        monkeypatch.delenv(f"FLEETMARK_{field.upper()}", raising=False)
    monkeypatch.setenv("FLEETMARK_WORKER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("FLEETMARK_WORKER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FLEETMARK_WORKER_PORT", "0")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore the logging. `start` configures it for its process, which is the process of the tests here."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_info_is_the_body_of_the_info_call_and_writes_nothing(tmp_path: Path) -> None:
    done = run(app, ["info", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["system_info"]["cpu"]["cores_logical"] >= 1
    assert list(tmp_path.iterdir()) == []


def test_info_for_a_person_names_every_capability() -> None:
    done = run(app, ["info"])
    assert done.exit_code == 0
    assert "cpu.onnx" in done.stdout
    assert "gpu.cuda.onnx" in done.stdout


def test_validate_is_content_with_this_machine() -> None:
    done = run(app, ["validate", "--json"])
    checks = json.loads(done.stdout)
    assert [check for check in checks if not check["ok"]] == []
    assert done.exit_code == 0
    assert {"python", "engines", "spool folder", "disk", "host-wide lock"} <= {check["check"] for check in checks}


def test_validate_says_what_is_wrong_and_how_to_mend_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FLEETMARK_WORKER_SPOOL_DIR", str(tmp_path / "file" / "spool"))
    done = run(app, ["validate", "--json"])
    assert done.exit_code == 1
    (problem,) = [check for check in json.loads(done.stdout) if not check["ok"]]
    assert problem["check"] == "spool folder"
    assert "FLEETMARK_WORKER_SPOOL_DIR" in problem["mend"]


def test_start_without_an_address_says_how_to_give_one() -> None:
    done = run(app, ["start"])
    assert done.exit_code == 2
    assert "--host http://<orchestrator>:5000" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["start", "--host", "ftp://x"], "--host='ftp://x'"),
        (["start", "--host", "x", "--label", "nonsense"], "name=value"),
        (["start", "--host", "x", "--http-port", "99999"], "99999"),
        (["test"], "--host"),
    ],
)
def test_a_wrong_option_is_one_clear_error(arguments: list[str], says: str) -> None:
    done = run(app, arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run(app, ["start", "--redis-url", "redis://127.0.0.1:1", "--state-dir", str(tmp_path / "file" / "state")])
    assert done.exit_code == 2
    assert "FLEETMARK_WORKER_STATE_DIR" in done.stderr


def test_a_check_of_the_device_shows_paths_whole_in_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETMARK_WORKER_STATE_DIR", str(tmp_path / "a-name-that-is-longer-than-what-a-column-of-80-characters-can-hold"))
    assert "/a-name-that-is-longer-than-what-a-column-of-80-characters-can-hold" in run(app, ["validate"]).stdout


def test_every_command_explains_itself_with_an_example() -> None:
    for command in ("start", "info", "validate", "test"):
        done = run(app, [command, "-h"])
        assert done.exit_code == 0
        assert f"fleetmark worker {command}" in done.stdout


def test_trying_an_orchestrator_that_is_away_exits_3_and_measures_all_the_same() -> None:
    done = run(app, ["test", "--host", "http://127.0.0.1:1"])
    assert done.exit_code == 3
    assert "problem orchestrator" in done.stdout
    assert "measurement on cpu.onnx: 20 inferences" in done.stdout


WITHOUT_ONNXRUNTIME = """
import sys
from importlib.machinery import PathFinder

class Others(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "onnxruntime" else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Others
from worker.cli import main
main()
"""


def test_a_worker_without_an_engine_for_models_says_so_and_serves_the_rest(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_ONNXRUNTIME, "start", "--host", "http://127.0.0.1:1", "--log-format", "text"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as worker:
        said = next(line for line in worker.stdout or () if "runs no models" in line)
        worker.terminate()
    assert how_to_install("onnx") in said


@pytest.mark.parametrize("command", ["info", "validate", "test"])
def test_advice_names_the_extra_in_its_brackets(command: str) -> None:
    """The terminal library once read `[onnx]` as markup and left it out."""
    options = ["--host", "http://127.0.0.1:1"] if command == "test" else []
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNXRUNTIME, command, *options], check=False, capture_output=True, text=True, timeout=60
    )
    whole = done.stdout + done.stderr
    assert "Traceback" not in whole
    if command == "test":
        assert "fleetmark worker validate" in whole
    else:
        assert how_to_install("onnx") in whole
        assert "[onnx]" in whole


def test_an_error_with_anything_in_brackets_is_shown_as_it_is() -> None:
    done = run(app, ["start", "--host", "http://[bold]x[/y]", "--label", "[/nonsense]"])
    assert done.exit_code == 2
    assert "[/nonsense]" in done.stderr
