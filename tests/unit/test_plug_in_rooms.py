"""Tests that every plug-in of a registry is protected by import-linter, so that code reaches it by its name alone."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.plugins import ROOT

ROOMS = ("engines", "generators", "hardware_tests", "samplers", "services", "drivers", "launchers", "tools", "kinds")
REGISTRIES = [f"worker/{room}/registry.py" for room in ROOMS]
REGISTRIES += ["orchestrator/reports/sheets/registry.py", "shared/tasks/registry.py", "shared/scorers/registry.py"]
TARGET = re.compile(r'"([a-z_.0-9]+):(?:[A-Z]\w*)"')  # a class, or the record of a task or scorer
CONTRACT = "plug-ins are reached only by name, through their registry"


@pytest.mark.parametrize("path", REGISTRIES)
def test_every_plug_in_of_a_registry_is_protected(path: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (protected,) = [one["protected_modules"] for one in contracts if one["name"] == CONTRACT]
    modules = set(TARGET.findall((ROOT / path).read_text()))
    assert modules, f"{path} names no plug-in"
    forgotten = sorted(modules - set(protected))
    assert not forgotten, f"add to `protected_modules` of the contract {CONTRACT!r} in pyproject.toml: {', '.join(forgotten)}"
