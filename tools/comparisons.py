"""Finds code that compares a kind of work, a capability or an engine with the name of one: `python -m tools.comparisons`.

A comparison with a name, such as `if kind == "inference"`, ties code that serves every plug-in to one of them. What depends on a plug-in
stands in its own file, or in its entry of a registry. So only registries and the plug-ins themselves may compare.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.reports.sheets.registry import SHEETS
from shared.capabilities import LABELS
from worker.engines.registry import ENGINES
from worker.interpreter import ROOT
from worker.kinds.registry import KINDS

ASKED_FOR = ("kind", "capability", "engine", "runtime")
NAMES = frozenset({*LABELS, *KINDS, *ENGINES, *(part for name in LABELS for part in name.split("."))} - {"cpu", "gpu", "api", "service"})
PREFIXES = tuple(sorted({name.rpartition(".")[0] + "." for name in LABELS if "." in name}))
TARGETS = [entry.target for entry in ENGINES.values()] + [entry.target for entry in KINDS.values()]
TARGETS += [entry.target for entry in SHEETS.values()]
PLUGINS = [target.partition(":")[0].replace(".", "/") for target in TARGETS]


def comparisons(source: str) -> Iterator[tuple[int, str]]:
    """Return the line and the text of each comparison of a kind, a capability or an engine with the name of one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("startswith", "endswith"):
            asked = [node.func.value, *node.args]
        elif isinstance(node, ast.Match):
            asked = [node.subject, *(value for case in node.cases for value in ast.walk(case.pattern) if isinstance(value, ast.Constant))]
        else:
            continue
        if any(_is_asked_for(one) for one in asked) and any(_is_a_name(one) for one in asked):
            yield asked[0].lineno, ast.unparse(node).partition("\n")[0]


def _is_asked_for(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        name = str(node.slice.value)
    return name.rpartition("_")[2] in ASKED_FOR


def _is_a_name(node: ast.expr) -> bool:
    """Return whether this is the name of a plug-in, the beginning of one, or a list that contains such names."""
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    texts = [one.value for one in parts if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return any(text in NAMES or text.startswith(PREFIXES) or f"{text}." in PREFIXES for text in texts)


def modules() -> list[Path]:
    return [path for package in ("orchestrator", "worker", "shared", "cli") for path in sorted((ROOT / package).rglob("*.py"))]


def may_ask(path: Path) -> bool:
    """Return whether a module is a registry or belongs to a plug-in.

    It belongs to a plug-in if it is its own file, or a file beside it whose name begins in the same way.
    """
    place = path.relative_to(ROOT).with_suffix("").as_posix()
    return path.name == "registry.py" or any(place == plugin or place.startswith((f"{plugin}_", f"{plugin}/")) for plugin in PLUGINS)


def found() -> list[str]:
    """Return each comparison that does not belong where it is, with its place."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in modules()
        if not may_ask(path)
        for line, text in comparisons(path.read_text(encoding="utf-8"))
    ]


def main() -> int:
    for place in found():
        print(f"{place}: say this in the plug-in's file or in its entry of the registry")
    return 1 if found() else 0


if __name__ == "__main__":
    sys.exit(main())
