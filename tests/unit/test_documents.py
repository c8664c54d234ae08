"""Checks the documents: links exist, commands, targets and variables are real, and recipes are valid."""

from __future__ import annotations

import re
import runpy
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from cli.main import app
from cli.settings import variables
from orchestrator.domain.findings import COUNTERS
from orchestrator.reports.columns import COLUMNS
from orchestrator.reports.inferences.facts import MUST_BE_EQUAL, WORTH_A_WARNING
from orchestrator.reports.inferences.outcomes import FIGURES
from orchestrator.settings import Settings
from orchestrator.verdicts.matrix import AXES
from shared.recipes import load_recipe
from tools.recipe_examples import EXAMPLES, recipe_with, shown_example
from tools.reference import RECIPE_PARTS
from worker.drivers.registry import DRIVERS
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]

LINK = re.compile(r"\]\(([^)#]+)\)")
TARGET = re.compile(r"`make ([a-z-]+)|^make ([a-z-]+)", re.MULTILINE)
COMMAND = re.compile(r"(?:`|^|bin/)fleetmark ([a-z][a-z-]*)", re.MULTILINE)
VARIABLE = re.compile(r"FLEETMARK_[A-Z_]*[A-Z]")


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = TARGET.findall(page.read_text())
    assert {first or second for first, second in named} <= targets


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_command_exists(page: Path) -> None:
    root: Any = typer.main.get_command(app)
    named = set(COMMAND.findall(page.read_text()))
    assert named <= set(root.commands)


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_variable_is_read_by_something(page: Path) -> None:
    known = {f"FLEETMARK_{name.upper()}" for settings in (Settings, WorkerSettings) for name in settings.model_fields}
    known |= {variable for _, variable in variables()} | {variable for entry in DRIVERS.values() for _, variable in entry.secrets}
    assert set(VARIABLE.findall(page.read_text())) <= known


def test_every_page_has_a_place_in_the_navigation_of_the_site() -> None:
    """`make docs-site` refuses a page without one, but it needs Sphinx."""
    entries = [entry for group in runpy.run_path(str(ROOT / "docs" / "conf.py"))["NAVIGATION"].values() for entry in group]
    entries += ["docs/index", "docs/decisions/0*"]  # the first page, and what the list of decisions contains
    names = [_id(page).removesuffix(".md") for page in PAGES]
    assert [name for name in names if not any(fnmatch(name, entry) for entry in entries)] == []
    assert [entry for entry in entries if not any(fnmatch(name, entry) for name in names)] == []


def test_no_reverse_proxy_lets_a_client_say_where_it_is() -> None:
    """Users tell `FLEETMARK_TRUSTED_PROXIES` to believe the proxy. By default, nginx passes on the header that the client has sent."""
    proxies = [proxy for page in PAGES for proxy in re.findall(r"proxy_pass [^}]*", page.read_text())]
    assert proxies
    for proxy in proxies:
        assert re.search(r"proxy_set_header X-Forwarded-For \$remote_addr;", proxy)


def test_the_checks_of_the_pages_find_what_they_look_for() -> None:
    """This counts what each check finds in all pages together, because a pattern that finds nothing would let everything pass."""
    text = "\n".join(page.read_text() for page in PAGES)
    assert len(LINK.findall(text)) > 30
    assert len(TARGET.findall(text)) > 10
    assert len(COMMAND.findall(text)) > 10
    assert len(VARIABLE.findall(text)) > 50


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("**/*.yaml")), ids=_id)
def test_every_recipe_is_valid_and_says_what_it_is_for(file: Path) -> None:
    text = file.read_text()
    load_recipe(text, str(file))
    assert text.startswith("# ")


def test_the_recipe_of_the_readme_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert load_recipe(block).devices == "every"


@pytest.mark.parametrize("model", [model for _, model in RECIPE_PARTS], ids=lambda model: model.__name__)
def test_every_key_of_a_recipe_has_a_valid_example(model: type[BaseModel]) -> None:
    assert set(EXAMPLES[model]) == set(model.model_fields)
    for key in EXAMPLES[model]:
        load_recipe(yaml.safe_dump(recipe_with(model, key)))
        assert yaml.safe_load(shown_example(model, key))


def test_every_column_of_the_csv_is_explained() -> None:
    page = (ROOT / "docs" / "reference" / "results.md").read_text().partition("## Columns")[2]
    assert sorted(re.findall(r"`([A-Z][A-Za-z0-9]+)`", re.sub(r"\|[^|]*\|$", "", page, flags=re.MULTILINE))) == sorted(COLUMNS)


def test_the_commands_of_a_worker_are_listed_with_the_variables_of_their_options() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for name in ("start", "info", "validate", "test"):
        assert f"## `fleetmark worker {name}`" in page
    assert "| `--state-dir` |" in page
    assert "[env: FLEETMARK_WORKER_STATE_DIR] |" in page


def test_what_the_watch_counts_is_explained() -> None:
    page = (ROOT / "docs" / "why" / "reliability.md").read_text()
    for name, said in COUNTERS.items():
        assert f"| `{name}` | {said} |" in page


def test_the_tests_that_the_promises_name_are_there() -> None:
    page = (ROOT / "docs" / "why" / "reliability.md").read_text()
    tests = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    files, functions = re.findall(r"\btest_\w+\.py", page), re.findall(r"::(test_\w+)", page)
    assert len(files) > 20
    assert len(functions) > 20
    for name in files:
        assert name in tests, name
    for name in functions:
        assert any(re.search(rf"def {name}", text) for text in tests.values()), name


def test_every_module_is_in_the_house() -> None:
    """The packages that the architecture page names are exactly those that exist."""
    page = (ROOT / "docs" / "why" / "architecture.md").read_text()
    for package in ("orchestrator", "worker"):
        for room in (ROOT / package).iterdir():
            if room.is_dir() and (room / "__init__.py").exists():
                assert re.search(rf"\b{room.name}/", page), room


def test_every_fact_that_a_comparison_needs_is_explained() -> None:
    page = " ".join((ROOT / "docs" / "how-to" / "compare.md").read_text().split())
    for fact in MUST_BE_EQUAL:
        assert f"| `{fact.name}` | {fact.meaning} |" in page
    for fact in WORTH_A_WARNING:
        assert fact.meaning in page, fact.name
    for name in (*FIGURES, *AXES):
        assert f"`{name}`" in page or f"metric={name}" in page, name
