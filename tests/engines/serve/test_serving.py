"""Measures a real `transformers serve` with a tiny language model, by OpenAI's protocol."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import free_port
from tests.serving import measure, plausible, running
from tools.tiny_llama import make

pytestmark = pytest.mark.timeout(900)  # the server imports torch
CHAT = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make(tmp_path_factory.mktemp("models") / "tiny-llama", num_hidden_layers=2, hidden_size=64, intermediate_size=128)
    (folder / "chat_template.jinja").write_text(CHAT)
    return folder


@pytest.fixture(scope="module")
def transformers(tiny: Path) -> Iterator[str]:
    port, program = free_port(), str(Path(sys.executable).with_name("transformers"))
    with running([program, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", str(tiny)], port, "/health") as address:
        yield address


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_stream_of_transformers_serve_has_every_figure(transformers: str, tiny: Path, tmp_path: Path, endpoint: str) -> None:
    outcome = measure(transformers, tmp_path, model=str(tiny), endpoint=endpoint, input_tokens=16)
    plausible(outcome)


def test_a_model_that_the_server_does_not_have_is_refused_with_the_servers_words(transformers: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="answers with status"):
        measure(transformers, tmp_path, model="no/such-model")
