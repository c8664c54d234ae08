"""Tests that the memory of child processes counts where a runtime may start some."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker.measured.memory import MemoryMeter

HOLDS_MB = 80
CHILD = f"held = bytearray({HOLDS_MB} << 20); print(len(held), flush=True); input()"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what other processes held")
def test_the_memory_of_child_processes_is_added_and_the_method_says_so() -> None:
    alone, family = MemoryMeter(), MemoryMeter(family=True)
    with subprocess.Popen([sys.executable, "-S", "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        assert (family.peak_mb() or 0) - (alone.peak_mb() or 0) == pytest.approx(HOLDS_MB, abs=HOLDS_MB / 2)
        assert "child processes, added" in family.method
        family.start_phase()  # sets the mark of the child back, too
        assert (family.peak_mb() or 0) > HOLDS_MB
        child.stdin.write("\n")
    assert "child" not in alone.method
