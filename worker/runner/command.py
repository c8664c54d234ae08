"""Builds the command line of a guard, of a measured process, or of the process that samples beside it."""

from __future__ import annotations

from worker.interpreter import ROOT, python_command

__all__ = ["ROOT", "runner_command", "sampler_command"]


def runner_command(*arguments: str) -> list[str]:
    return python_command("worker.runner.__main__", *arguments)


def sampler_command() -> list[str]:
    return python_command("worker.samplers.loop")
