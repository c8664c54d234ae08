"""Tests the commands that messages advise: each must work for the installation that prints it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from shared import installation
from shared.installation import ROOT, how_to_call, how_to_install, how_to_install_library, shown_recipe

PIP = Path(sys.executable).parent / "pip"


def package(folder: Path, direct_url: str | None) -> Path:
    """Make what an installer leaves in `site-packages`, and return that folder."""
    site = folder / "site-packages"
    information = site / "fleetmark-9.9.dist-info"
    information.mkdir(parents=True)
    lines = [
        "Metadata-Version: 2.4",
        "Name: fleetmark",
        "Version: 9.9",
        "Requires-Dist: celery>=5.6",
        "Requires-Dist: onnxruntime>=1.20; extra == 'onnx'",
        "Requires-Dist: onnx>=1.17; extra == 'onnx'",
        "Requires-Dist: onnxruntime-of-another-system; sys_platform == 'plan9' and extra == 'onnx'",
        "Requires-Dist: psycopg[binary]>=3.2; extra == 'orchestrator'",
    ]
    (information / "METADATA").write_text("\n".join(lines) + "\n")
    if direct_url is not None:
        (information / "direct_url.json").write_text(direct_url)
    return site


def advised(site: Path, extra: str) -> list[str]:
    """Return the words of the advice that an installation in `site` gives."""
    for name in ("shared", "orchestrator", "worker", "cli"):
        (site / name).symlink_to(ROOT / name)
    code = f"from shared import installation as i; i.ROOT = i.Path({str(site)!r}); print(i.how_to_install({extra!r}))"
    paths = os.pathsep.join([str(site), sysconfig.get_path("purelib")])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=site, env=environment, capture_output=True, text=True, check=True)
    return shlex.split(done.stdout)


def test_a_clone_is_told_to_install_itself_with_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert how_to_install("onnx").endswith(" install -e '.[onnx]'")
    monkeypatch.chdir(tmp_path)
    assert shlex.split(how_to_install("onnx"))[-2:] == ["-e", f"{ROOT}[onnx]"]


def test_pip_is_the_one_of_this_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(how_to_install_library("socksio"))
    assert words == [str(PIP), "install", "socksio"] if PIP.exists() else words[1:] == ["-m", "pip", "install", "socksio"]
    monkeypatch.chdir(PIP.parent.parent)
    if PIP.exists():
        assert how_to_install_library("socksio") == "bin/pip install socksio"


def test_a_wheel_is_told_the_libraries_of_the_extra_because_no_index_has_fleetmark(tmp_path: Path) -> None:
    site = package(tmp_path, json.dumps({"url": "file:///gone/fleetmark-9.9-py3-none-any.whl", "archive_info": {}}))
    words = advised(site, "onnx")
    assert words[-2:] == ["onnxruntime>=1.20", "onnx>=1.17"]
    assert "fleetmark" not in words


def test_a_library_with_an_extra_of_its_own_keeps_it(tmp_path: Path) -> None:
    assert advised(package(tmp_path, None), "orchestrator")[-1] == "psycopg[binary]>=3.2"


def test_a_package_that_was_installed_from_a_clone_is_told_to_install_that_clone(tmp_path: Path) -> None:
    site = package(tmp_path, json.dumps({"url": ROOT.as_uri(), "dir_info": {}}))
    assert advised(site, "onnx")[-1] == f"{ROOT}[onnx]"


def test_a_clone_that_is_gone_is_not_named(tmp_path: Path) -> None:
    site = package(tmp_path, json.dumps({"url": (tmp_path / "gone").as_uri(), "dir_info": {}}))
    assert advised(site, "onnx")[-2:] == ["onnxruntime>=1.20", "onnx>=1.17"]


@pytest.mark.parametrize("extra", installation.IMAGES)
def test_an_image_is_told_how_it_is_built(extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / installation.IMAGE).write_text("worker.Dockerfile\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    advice = how_to_install(extra)
    role, file = installation.IMAGES[extra]
    assert f"docker build -f deploy/docker/{file} --build-arg ROLE={role} ." in advice
    assert (ROOT / "requirements" / f"{role}.txt").exists()
    assert (ROOT / "deploy" / "docker" / file).exists()


def test_the_program_is_called_by_its_name_only_if_the_shell_finds_this_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "fleetmark"
    assert program.exists(), "the tests run in an environment that Fleetmark is installed in"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(program.parent))
    assert how_to_call("up", "--port 5050") == "fleetmark up --port 5050"
    other = tmp_path / "fleetmark"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert how_to_call("up") == f"{shlex.quote(str(program))} up"
    monkeypatch.chdir(program.parent.parent)
    assert how_to_call("up") == "bin/fleetmark up"


def test_a_recipe_of_ours_is_shown_as_the_user_can_type_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert shown_recipe("sweep.yaml") == "recipes/sweep.yaml"
    monkeypatch.chdir(tmp_path)
    assert Path(shlex.split(shown_recipe("sweep.yaml"))[0]).is_file()
