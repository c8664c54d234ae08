"""Is a probe of a generator's libraries that needs numpy only. A test runs it in a process of its own."""

from __future__ import annotations

import json
import sys

import numpy


def main(_arguments: list[str]) -> None:
    sys.stdout.write(json.dumps({"error": "", "versions": {"numpy": numpy.__version__}}) + "\n")
