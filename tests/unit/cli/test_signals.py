from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Libraries run such code while they are imported. For example, a dataclass executes text that it has made.
STOPPED = """
import signal
from cli.signals import stopped_by_signals

try:
    with stopped_by_signals():
        exec("signal.raise_signal(signal.{name})")
except KeyboardInterrupt:
    raise SystemExit(130) from None
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_comes_while_a_text_is_executed_leaves_the_exit_code_to_the_command(tmp_path: Path, name: str) -> None:
    (tmp_path / "stopped.py").write_text(STOPPED.format(name=name))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])}
    ended = subprocess.run([sys.executable, "-m", "stopped"], env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")
