"""Leaves out the tests of engines whose library is not installed. `make test-torch`, `test-llm` and others run them where it is."""

from __future__ import annotations

from importlib.util import find_spec

LIBRARIES = {"torch": "torch", "llm": "transformers", "serve": "accelerate", "vllm": "vllm", "coreml": "coremltools"}
collect_ignore = [folder for folder, library in LIBRARIES.items() if find_spec(library) is None]
