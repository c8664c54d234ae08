"""Tests that the memory of child processes counts where a runtime may start some."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HOLDS_MB = 80
CHILD = f"held = bytearray({HOLDS_MB} << 20); print(len(held), flush=True); input()"
# The process of the tests has child processes of its own: the servers of other tests. This one has a single child.
PARENT = f"""
import json, subprocess, sys
from worker.measured.memory import MemoryMeter
alone, family = MemoryMeter(), MemoryMeter(family=True)
with subprocess.Popen([sys.executable, "-S", "-c", {CHILD!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
    child.stdout.readline()
    added = family.peak_mb() - alone.peak_mb()
    family.start_phase()  # sets the mark of the child back, too
    print(json.dumps([added, family.peak_mb() - alone.resident_mb(), family.method, alone.method]))
    child.communicate("")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what other processes held")
def test_the_memory_of_child_processes_is_added_and_the_method_says_so() -> None:
    said = subprocess.run([sys.executable, "-c", PARENT], check=True, capture_output=True, text=True).stdout
    added_mb, kept_mb, method_of_family, method_of_one = json.loads(said)
    assert added_mb == pytest.approx(HOLDS_MB, abs=HOLDS_MB / 2)
    assert kept_mb == pytest.approx(HOLDS_MB, abs=HOLDS_MB / 2)
    assert "of its 1 child processes, added" in method_of_family
    assert "child" not in method_of_one
