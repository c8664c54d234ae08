"""Tests what a user installs: the wheel, the locked requirements, the Makefile, the generated documents."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ROLES = ("demo", "dev", "docs", "orchestrator", "worker-apple", "worker-cpu", "worker-cuda")


def _pins(role: str) -> dict[str, list[str]]:
    """Return the versions of each package that a requirements file pins. There are several if Python versions differ."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements" / f"{role}.txt").read_text(), re.MULTILINE):
        found.setdefault(name.lower(), []).append(version)
    return found


@pytest.mark.parametrize("role", ROLES)
def test_every_package_is_pinned_and_hashed(role: str) -> None:
    text = (ROOT / "requirements" / f"{role}.txt").read_text()
    entries = re.split(r"\n(?=[a-z])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), flags=re.IGNORECASE)
    assert len(entries) > 20
    for entry in entries:
        assert "==" in entry.splitlines()[0], entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in text  # the file names no package index, so the user's own index is used


@pytest.mark.parametrize("role", [role for role in ROLES if role != "dev"])
def test_what_is_deployed_is_what_was_tested(role: str) -> None:
    tested, only_here = _pins("dev"), {"onnxruntime-gpu", "coremltools"}
    for name, versions in _pins(role).items():
        if name in tested:
            assert set(versions) <= set(tested[name]), name
    assert only_here.isdisjoint(tested)


def test_each_worker_has_the_runtime_of_its_device_and_nothing_of_the_control_plane() -> None:
    cpu, cuda, apple = _pins("worker-cpu"), _pins("worker-cuda"), _pins("worker-apple")
    assert "onnxruntime" in cpu
    assert "onnxruntime-gpu" in cuda
    assert "onnxruntime" not in cuda  # the two packages overwrite each other's files
    assert {"onnxruntime", "coremltools"} <= set(apple)
    for worker in (cpu, cuda, apple):
        assert {"fastapi", "sqlalchemy", "pandas", "flower"}.isdisjoint(worker)


def test_the_wheel_carries_every_file_of_the_packages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "--cached", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    packages = ("shared/", "orchestrator/", "worker/", "cli/")
    wanted = [name for name in tracked if name.startswith(packages) and (ROOT / name).is_file()]
    wanted += [name for name in tracked if re.fullmatch(r"recipes/[^/]+\.yaml", name)]
    for name in [*wanted, "pyproject.toml", "README.md", "LICENSE"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        assert {name for name in wanted if name not in names} == set()
        metadata = content.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_licence_is_the_whole_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability." in text
    assert "APPENDIX: How to apply the Apache License to your work." in text
    assert PROJECT["license"] == "Apache-2.0"


def test_the_generated_documents_are_current() -> None:
    checked = subprocess.run([sys.executable, "-m", "tools.reference", "--check"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_make_help_lists_every_target_of_the_house() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in ("help", "setup", "demo", "up", "test", "test-all", "check", "bench", "requirements", "dist", "docs-site"):
        assert re.search(rf"^  make {target} ", shown, re.MULTILINE), target


def test_make_takes_a_python_that_runs(tmp_path: Path) -> None:
    """Version managers install programs of the right name that only print an error."""
    broken, good = tmp_path / "python3.13", tmp_path / "python3.12"
    broken.write_text("#!/bin/sh\necho 'not installed' >&2\nexit 127\n")
    good.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    broken.chmod(0o755)
    good.chmod(0o755)
    command = ["make", "-n", "python"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}).stdout
    assert str(good) in made
    assert str(broken) not in made


def test_an_old_python_is_refused_in_one_sentence() -> None:
    old = (
        "import runpy, sys\n"
        "sys.version_info, sys.argv = (3, 10, 0, 'final', 0), ['environment.py', 'demo']\n"
        "runpy.run_path('tools/environment.py', run_name='__main__')\n"
    )
    refused = subprocess.run([sys.executable, "-c", old], cwd=ROOT, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "needs Python 3.11 or newer" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_bare_command_line_needs_no_extra() -> None:
    """A laptop that only submits campaigns has no numpy, no FastAPI and no runtime."""
    hidden = ("numpy", "pandas", "matplotlib", "fastapi", "sqlmodel", "sqlalchemy", "onnx", "onnxruntime", "psutil", "alembic", "flower")
    code = (
        "import sys\n"
        f"for name in {hidden!r}: sys.modules[name] = None\n"
        "from cli.main import app\n"
        "app(['validate', 'recipes/quickstart.yaml', '--help'], standalone_mode=False)\n"
        "app(['doctor', '--help'], standalone_mode=False)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
