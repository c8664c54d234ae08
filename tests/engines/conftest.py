"""Leaves out the tests of engines whose library is not installed. `make test-torch` and `make test-coreml` run them where it is."""

from __future__ import annotations

from importlib.util import find_spec

LIBRARIES = {"torch": "torch", "coreml": "coremltools"}
collect_ignore = [folder for folder, library in LIBRARIES.items() if find_spec(library) is None]
