"""Tests with schemathesis (all phases and checks) that the API behaves as its OpenAPI file says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.budget import EXAMPLES, SEED, SUITE_EXAMPLES
from tests.fuzz.serving import ADMIN, Served

CONFIG = Path(__file__).with_name("schemathesis.toml")
# The phase `coverage` tries each rule of the schema separately. It makes thousands of calls and takes half a minute on both cores.
DRAWN = "fuzzing,stateful" if EXAMPLES > SUITE_EXAMPLES else pytest.param("fuzzing,stateful", marks=pytest.mark.long)
COVERAGE = "coverage" if EXAMPLES > SUITE_EXAMPLES else pytest.param("coverage", marks=pytest.mark.long)


@pytest.mark.timeout(1_800 + 60 * EXAMPLES)
@pytest.mark.parametrize("phases", ["examples", DRAWN, COVERAGE])
def test_the_api_is_what_its_openapi_file_says(served: Served, tmp_path: Path, phases: str) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run", f"{served.url}/openapi.json"]
    command += ["--seed", str(SEED), "--max-examples", str(EXAMPLES), "--phases", phases, "--no-color"]
    command += ["--header", f"Authorization: Bearer {ADMIN}"]
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    made = subprocess.run(command, cwd=tmp_path, env=kept, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert made.returncode == 0, made.stdout
    sys.stdout.write(made.stdout)  # `pytest -s` shows how much was tried
