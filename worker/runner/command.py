"""Builds the command line of a guard or a measured process."""

from __future__ import annotations

from worker.interpreter import ROOT, python_command

__all__ = ["ROOT", "runner_command"]


def runner_command(*arguments: str) -> list[str]:
    return python_command("worker.runner.__main__", *arguments)
