"""Tests that the product contains nothing that makes code out of data, and starts no shell.

Ruff's rules forbid most of this in every package. Here, each rule is shown to refuse an example under this project's own settings, and
every `noqa` that silences one of them must be listed. The syntax trees are searched for what no rule covers.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("shared", "orchestrator", "worker", "cli")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

# Each entry has a rule and a line that the rule refuses.
RULES = {
    "S102": "exec('1')",
    "S301": "import pickle as p\np.loads(b'')",
    "S302": "import marshal\nmarshal.loads(b'')",
    "S307": "eval('1')",
    "S506": "import yaml\nyaml.load('', yaml.Loader)",
    "S602": "import subprocess\nsubprocess.run('ls ' + x, shell=True)",
    "S604": "start('ls', shell=True)",
    "S605": "import os\nos.system('ls')",
    "TID251": "import pickle",
}
# Each entry has a place where a rule is silenced, and the reason why this is right.
SILENCED = {
    ("cli/commands/start.py", "S606"): "a list of arguments, no shell",
    ("cli/settings.py", "TID251"): "the environment of child processes",
}
FOREIGN = frozenset({"dill", "cloudpickle", "joblib", "shelve", "jsonpickle", "pickle", "marshal", "code", "codeop"})


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("rule", RULES)
def test_ruff_refuses_it_in_every_room(rule: str) -> None:
    for room in ROOMS:
        command = [sys.executable, "-m", "ruff", "check", "--output-format", "json", "--stdin-filename", f"{room}/example.py", "-"]
        found = subprocess.run(command, input=RULES[rule] + "\n", cwd=ROOT, capture_output=True, text=True, check=False)
        assert rule in {finding["code"] for finding in json.loads(found.stdout)}, (room, found.stdout, found.stderr)


def test_no_rule_is_silenced_where_it_is_not_listed() -> None:
    silenced = set()
    for path in FILES:
        for codes in re.findall(r"#\s*noqa:\s*([A-Z0-9, ]+)", path.read_text()):
            silenced |= {
                (path.relative_to(ROOT).as_posix(), code) for code in re.split(r"[, ]+", codes.strip()) if code in {*RULES, "S606"}
            }
        assert not re.search(r"#\s*(?:ruff:\s*noqa|noqa\s*(?:$|[^:]))", path.read_text(), re.MULTILINE), (
            f"{path} silences every rule at once"
        )
    clocks = {(path, code) for path, code in silenced if code == "TID251"} - set(SILENCED)
    assert silenced - clocks == set(SILENCED)
    for name, _ in clocks:  # the other banned names are those of the clock and of the environment
        assert "pickle" not in (ROOT / name).read_text(), name


def test_what_no_rule_knows_is_not_there() -> None:
    assert len(FILES) > 100
    for path in FILES:
        tree = ast.parse(path.read_text(), str(path))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not FOREIGN & {name.partition(".")[0] for name in names}, (path, names)
        for name, call in calls(tree):
            where = f"{path}:{call.lineno}"
            arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert arguments.get("shell", "False") == "False", where
            assert arguments.get("allow_pickle", "False") == "False", where
            assert arguments.get("trust_remote_code", "False") == "False", where
            assert name != "torch.load" or arguments.get("weights_only") == "True", where
            assert name not in ("compile", "__import__", "os.popen", "pty.spawn", "subprocess.getoutput"), where


def test_celery_takes_json_alone() -> None:
    from shared.celery_app import make_celery_app

    app = make_celery_app("redis://127.0.0.1:1/0", queues=("cpu.onnx",), worker_id="worker-1")
    assert (app.conf.accept_content, app.conf.task_serializer, app.conf.result_serializer) == (["json"], "json", "json")
    assert app.conf.result_accept_content is None  # without a value of its own, Celery takes `accept_content`
    assert app.conf.event_serializer == "json"
