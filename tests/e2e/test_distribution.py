"""Tests the wheel and the sdist as a user gets them: installed in a new environment, and used in an empty folder."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO_S = 600

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does who has nothing of this project on the PATH or in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLEETMARK_", "PYTHON", "VIRTUAL_ENV"))}
    environment = kept | {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=DEMO_S)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from the tracked files, and the wheel from the sdist, as `make dist` does. Returns their folder."""
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in tracked:
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", source / "dist", ".", folder=source)
    return source / "dist"


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment with the locked packages of the demo and the wheel. Returns its folder of programs."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "venv", folder=folder)
    programs = folder / "venv" / "bin"
    run(programs / "pip", "install", "--no-deps", "--require-hashes", "-r", ROOT / "requirements" / "demo.txt", folder=folder)
    (wheel,) = built.glob("*.whl")
    run(programs / "pip", "install", "--no-deps", wheel, folder=folder)
    return programs


def test_the_wheel_needs_nothing_that_the_locked_packages_lack(environment: Path, tmp_path: Path) -> None:
    assert "No broken requirements found" in run(environment / "pip", "check", folder=tmp_path).stdout
    shown = run(environment / "fleetmark", "--help", folder=tmp_path).stdout
    for command in ("up", "demo", "run", "doctor"):
        assert re.search(rf"\b{command}\b", shown), command
    findings = json.loads(run(environment / "fleetmark", "doctor", "--json", folder=tmp_path).stdout)
    assert {finding["verdict"] for finding in findings} <= {"ok", "note"}


def test_the_installed_demo_measures_and_names_a_next_step_that_works(environment: Path, tmp_path: Path) -> None:
    shown = run(environment / "fleetmark", "demo", folder=tmp_path).stdout
    (file,) = (tmp_path / "outputs").glob("*_results.csv")
    with file.open(newline="") as rows:
        assert [row["Status"] for row in csv.DictReader(rows)] == ["Complete"] * 3
    (line,) = re.findall(r"^Next +(.*)$", shown, re.MULTILINE)
    start, _, then = line.partition(", then in another terminal:  ")
    assert shlex.split(start) == [str(environment / "fleetmark"), "up"]
    program, command, recipe, watch = shlex.split(then)
    assert (program, command, watch) == (str(environment / "fleetmark"), "run", "--watch")
    assert "is valid" in run(program, "validate", recipe, folder=tmp_path).stdout
    assert not list(Path(recipe).parent.glob("models/*.onnx")), "an installation may be read-only: networks are made in the user's folder"


def test_the_advice_of_a_wheel_installs_what_is_missing(environment: Path, tmp_path: Path) -> None:
    run(environment / "pip", "uninstall", "--yes", "flower", folder=tmp_path)
    refused = subprocess.run(
        [environment / "fleetmark", "doctor", "--json"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    (missing,) = [finding for finding in json.loads(refused.stdout) if finding["verdict"] == "missing"]
    assert missing["found"] == "not installed: flower"
    run("/bin/sh", "-c", missing["mend"], folder=tmp_path)
    run(environment / "fleetmark", "doctor", folder=tmp_path)


def test_the_sdist_installs_and_runs(built: Path, environment: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    command = ("install", "--force-reinstall", "--no-deps", "--no-build-isolation", sdist)
    run(environment / "pip", *command, folder=tmp_path)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run(environment / "fleetmark", "--version", folder=tmp_path).stdout)
    (tmp_path / "small.yaml").write_text("model: squeezenet\non: [cpu.onnx]\ninferences: 5\nrepeats: 2\n")
    run(environment / "fleetmark", "demo", "small.yaml", folder=tmp_path)
    (file,) = (tmp_path / "outputs").glob("*_results.csv")
    assert "Complete" in file.read_text()
