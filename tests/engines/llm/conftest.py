"""Makes the tiny language model of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.tiny_llama import make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a snapshot of two layers. Tests must not change it."""
    return make(tmp_path_factory.mktemp("models") / "tiny-llama", num_hidden_layers=2, hidden_size=64, intermediate_size=128)
