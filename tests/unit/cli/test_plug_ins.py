"""Tests that the command line knows what other packages bring, and that the doctor says what of it is broken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.commands.doctor import _plug_ins
from cli.plug_ins import ENTRY
from cli.submission import read_recipe
from shared import capabilities
from shared.errors import InvalidInput
from shared.scorers import registry as scorers
from shared.tasks import registry as tasks
from tests.plugins import install
from worker.engines.registry import EngineEntry

TASK = """
from shared.tasks.base import Task
MINE = Task("mine", "1", "Say: {document}", 4, ("contains",), lambda settings: [])
OTHER = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(capabilities.LABELS)
    for one in (tasks, scorers):
        one._of_packages.cache_clear()
    yield tmp_path
    for name in capabilities.LABELS.keys() - before.keys():
        del capabilities.LABELS[name]
    capabilities._ADDED.clear()
    capabilities.resolve.cache_clear()
    for one in (tasks, scorers):
        one._of_packages.cache_clear()


def recipe(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text("{model: words.txt, on: [cpu.toy]}")
    return path


def test_a_recipe_may_name_the_engine_of_a_package(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"unknown compute unit 'cpu\.toy'"):
        read_recipe(recipe(folder))
    install(folder, {"cpu.toy": "toy_engine:ENTRY"})
    assert read_recipe(recipe(folder)).on == ("cpu.toy",)
    assert read_recipe(recipe(folder)).on == ("cpu.toy",), "a second recipe is read in the same process"


def test_a_package_that_takes_a_name_is_said_when_a_recipe_is_read(folder: Path) -> None:
    install(folder, {"cpu.onnx": "toy_engine:ENTRY"})
    with pytest.raises(InvalidInput, match=r"the package toys brings an engine for cpu\.onnx, which is taken"):
        read_recipe(recipe(folder))


def test_the_doctor_says_nothing_of_plug_ins_where_there_are_none() -> None:
    assert list(_plug_ins()) == []


def test_the_doctor_names_what_packages_bring(folder: Path) -> None:
    install(folder, {"cpu.toy": "toy_engine:ENTRY"})
    install(folder, {"fleetmark.tasks/mine": "toy_task:MINE"}, TASK, "words", module="toy_task")
    (finding,) = _plug_ins()
    assert (finding.verdict, finding.found) == ("ok", "the engine cpu.toy, the task mine")


@pytest.mark.parametrize(
    ("brought", "source", "said"),
    [
        (
            {"cpu.toy": "toy_engine:ENTRY"},
            "import no_such_library",
            "cpu.toy of the package toys 1.0 cannot be loaded from toy_engine:ENTRY",
        ),
        ({"cpu.toy": "toy_engine:ENTRY"}, "import sys; sys.exit(3)", "cpu.toy of the package toys 1.0 cannot be loaded from"),
        (
            {"cpu.toy": "toy_engine:OTHER"},
            TASK,
            "cpu.toy of the package toys 1.0: toy_engine:OTHER is int, and must be an EngineEntry of worker.engines.registry",
        ),
        (
            {"cpu.toy": "toy_engine:EngineEntry"},
            "class EngineEntry: pass",
            "cpu.toy of the package toys 1.0: toy_engine:EngineEntry is type, and must be an EngineEntry of worker.engines.registry",
        ),
        ({"cpu.onnx": "toy_engine:ENTRY"}, "", "the package toys brings an engine for cpu.onnx, which is taken"),
        ({"fleetmark.tasks/mine": "toy_engine:OTHER"}, TASK, "mine of the package toys 1.0: toy_engine:OTHER is int, and must be a Task"),
        ({"fleetmark.scorers/rouge": "toy_engine:MINE"}, TASK, "the package toys brings the scorer rouge, which is taken"),
    ],
)
def test_the_doctor_says_which_package_is_broken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, brought: dict[str, str], source: str, said: str
) -> None:
    module = f"toy_{len(said)}_{len(source)}"  # a module is imported once in a process
    install(folder, {name: where.replace("toy_engine", module) for name, where in brought.items()}, source, module=module)
    (finding,) = _plug_ins()
    assert (finding.verdict, finding.mend) == ("wrong", "repair that package, or uninstall it")
    assert finding.found.replace(module, "toy_engine").startswith(said)


def test_the_doctor_knows_the_class_that_a_worker_takes() -> None:
    assert (EngineEntry.__module__, EngineEntry.__name__) == ENTRY
