"""Tests that the engines of other installed packages are found, and that an invalid package is refused with its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.capabilities import LABELS
from shared.errors import EngineUnavailable, InvalidInput
from shared.plugins import engines_of_packages
from tests.plugins import install
from worker.engines.registry import EngineEntry, entry_of
from worker.interpreter import ROOT


def test_the_engines_of_an_installed_package_are_found_by_their_capabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, {"cpu.toy": "toy_engine:ENTRY"}))
    assert set(engines_of_packages(LABELS)) == {"cpu.toy"}


@pytest.mark.parametrize("capability", ["toy", "CPU.toy", "cpu.", "tpu.toy", "cpu." + "x" * 64, "gpu.cuda.my.toy"])
def test_a_name_that_no_capability_can_have_is_refused_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: str
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, {capability: "toy_engine:ENTRY"}))
    with pytest.raises(InvalidInput, match=r"the package toys brings an engine for '.*': a capability is called like cpu\.mine"):
        engines_of_packages(LABELS)


def test_a_capability_that_is_taken_is_refused_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "a", {"cpu.onnx": "toy_engine:ENTRY"}))
    with pytest.raises(InvalidInput, match=r"the package toys brings an engine for cpu\.onnx, which is taken"):
        engines_of_packages(LABELS)
    monkeypatch.syspath_prepend(install(tmp_path / "b", {"cpu.toy": "toy_engine:ENTRY"}))
    monkeypatch.syspath_prepend(install(tmp_path / "c", {"cpu.toy": "toy_engine:OTHER"}, package="blocks"))
    with pytest.raises(InvalidInput, match=r"brings an engine for cpu\.toy, which is taken"):
        engines_of_packages()


RESOLVE_EACH = """
from worker.engines.registry import EngineUnavailable, resolve
for name in ("cpu.toy", "cpu.other", "cpu.none"):
    try:
        print(type(resolve(name)()).__name__)
    except EngineUnavailable as error:
        print(error.detail)
"""


def run(folder: Path, code: str) -> str:
    """Run code in a new process that has the package, and return what it prints."""
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]\n{code}"
    finished = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_a_process_knows_the_capabilities_of_a_package_as_it_knows_our_own(tmp_path: Path) -> None:
    install(tmp_path, {"cpu.toy": "toy_engine:ENTRY"})
    code = "from shared.capabilities import *; add_engines_of_packages(); add_engines_of_packages(); resolve('cpu.toy'); "
    assert run(tmp_path, code + "print(resolve('cpu.toy'), label_of('cpu.toy'), 'cpu.toy' in LABELS)") == "('cpu.toy',) cpu.toy True"


def test_an_engine_that_cannot_be_imported_is_a_sentence(tmp_path: Path) -> None:
    install(tmp_path, {"cpu.toy": "toy_engine:ENTRY", "cpu.other": "toy_engine:why_not", "cpu.none": "toy_engine:NOTHING"})
    told = run(tmp_path, RESOLVE_EACH).splitlines()
    assert told[0] == "ToyEngine"
    assert told[1] == "the engine of cpu.other is described by no EngineEntry: toy_engine:why_not is a function"
    assert told[2].startswith("the engine of cpu.none cannot be imported: toy_engine:NOTHING: AttributeError: ")


def test_our_own_engines_are_found_without_a_look_at_other_packages() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from worker.engines.registry import entry_of; entry_of('cpu.onnx'); "
    code += "print('importlib.metadata' in sys.modules)"
    finished = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert finished.stdout.strip() == "False"


def test_a_capability_that_nobody_brings_is_refused() -> None:
    assert isinstance(entry_of("cpu.onnx"), EngineEntry)
    with pytest.raises(EngineUnavailable, match=r"no engine runs 'cpu\.abacus' here"):
        entry_of("cpu.abacus")
