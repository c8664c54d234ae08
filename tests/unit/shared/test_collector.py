"""Tests that the garbage collector leaves alone what a process has when it begins to serve, and still frees what comes later."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_settled_process_no_longer_looks_at_what_was_there_and_frees_the_cycles_that_are_made_later() -> None:
    out = _run("""
        import gc, weakref
        from shared import collector

        class Node:
            def __init__(self):
                self.me = self

        collector.pause()
        there = [Node() for _ in range(1000)]
        collector.settle()
        later = weakref.ref(Node())
        print(gc.isenabled(), len(gc.get_objects()) < 1000, gc.collect() > 0, later() is None)
    """)
    assert out.split() == ["True"] * 4


def test_the_control_plane_imports_its_modules_without_the_collector_and_then_turns_it_on() -> None:
    out = _run("""
        import gc, runpy, sys
        looks = []
        gc.callbacks.append(lambda phase, info: looks.append(phase))
        sys.argv = ["orchestrator.cli", "migrate", "--help"]
        try:
            runpy.run_module("orchestrator.cli", run_name="__main__")
        except SystemExit as end:
            assert not end.code
        print(len(looks), gc.isenabled(), gc.get_freeze_count(), sep=" ", end="")
    """)
    looks, enabled, frozen = out.rsplit("\n", 1)[-1].split()
    assert int(looks) < 50, "Python's own settings make 500 looks"
    assert (enabled, int(frozen) > 100_000) == ("True", True)
