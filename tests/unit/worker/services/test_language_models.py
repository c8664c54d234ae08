"""Tests how the servers of language models are started, when they are healthy, and what is read from their pages.

`ModelServer` answers the documented calls of vLLM and of Ollama that are used here. `make test-serve` has a real server.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.services.ollama import OllamaSettings
from shared.services.vllm import VllmSettings
from tests.model_server import ModelServer, chunk, model_server
from tests.servers import free_port
from worker.services.base import NotHealthy, Place
from worker.services.ollama import OllamaService
from worker.services.vllm import VllmService

PAGE = """\
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 40.0
vllm:prompt_tokens_total{engine="1",model_name="m"} 2.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 7.0
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7e9
python_gc_objects_collected_total{generation="0"} 9.0
"""


def program(folder: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program on the PATH."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return path


def test_every_setting_of_a_vllm_is_an_option_of_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = program(tmp_path, "vllm", "", monkeypatch)
    monkeypatch.setenv("HF_HOME", "/models/hf")
    monkeypatch.delenv("VLLM_CACHE_ROOT", raising=False)
    place = Place(7003, tmp_path)
    asked: dict[str, Any] = {"model": "org/m", "tensor_parallel_size": 2, "max_model_len": 512, "dtype": "bfloat16", "max_num_seqs": 8}
    settings = VllmSettings(**asked, gpu_memory_utilization=0.5, prefix_caching=False, enforce_eager=True)
    command = VllmService().command(settings.model_dump(), place)
    assert list(command.words) == [
        *(str(vllm), "serve", "org/m", "--host", "127.0.0.1", "--port", "7003", "--tensor-parallel-size", "2"),
        *("--gpu-memory-utilization", "0.5", "--dtype", "bfloat16", "--max-model-len", "512", "--max-num-seqs", "8"),
        *("--no-enable-prefix-caching", "--enforce-eager"),
    ]
    assert command.environment.items() >= {"VLLM_NO_USAGE_STATS": "1", "HF_HOME": "/models/hf"}.items()
    assert command.environment["VLLM_CACHE_ROOT"] == str(Path.home() / ".cache" / "vllm")
    plain = VllmService().command(VllmSettings().model_dump(), place).words
    assert not {"--max-model-len", "--max-num-seqs", "--enforce-eager", "--no-enable-prefix-caching"} & set(plain)
    container = VllmService().container(VllmSettings().model_dump(), 8000, 1)
    assert list(container.arguments)[:4] == ["--model", "facebook/opt-125m", "--host", "0.0.0.0"]


@pytest.mark.parametrize("model", ["--trust-remote-code", "-m", "a b", ""])
def test_the_name_of_a_model_cannot_become_an_option_of_a_server(model: str) -> None:
    for settings in (VllmSettings, OllamaSettings):
        with pytest.raises(ValueError, match="model"):
            settings(model=model)


def test_a_vllm_is_healthy_when_it_says_so_and_its_own_counters_are_read() -> None:
    server = ModelServer(lambda _number: [])
    with model_server(server):
        service = VllmService()
        server.pages = {}
        with pytest.raises(NotHealthy, match="status 404"):
            service.health({}, server.port)
        assert service.metrics({}, server.port) == {}
        server.pages = {"/v1/models": {"data": []}}
        service.health({}, server.port)
        server.pages = {"/health": "ok", "/metrics": PAGE}
        service.health({}, server.port)
        assert service.metrics({}, server.port) == {"vllm:prompt_tokens_total": 42.0, "vllm:prefix_cache_hits_total": 7.0}


def test_a_device_without_the_program_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    for service, word in ((VllmService(), "vllm"), (OllamaService(), "ollama")):
        with pytest.raises(EngineUnavailable, match=f"no program `{word}` on this device: install"):
            service.check({})


def test_the_version_of_an_ollama_is_that_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "print('Warning: could not connect to a running Ollama instance'); print('Warning: client version is 0.12.3')"
    program(tmp_path, "ollama", said, monkeypatch)
    assert OllamaService().version() == "ollama 0.12.3"


def test_an_ollama_listens_where_it_is_told_and_keeps_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ollama = program(tmp_path, "ollama", "", monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    command = OllamaService().command(OllamaSettings(num_parallel=4).model_dump(), Place(7004, tmp_path))
    assert list(command.words) == [str(ollama), "serve"]
    assert command.environment == {
        **{"OLLAMA_HOST": "127.0.0.1:7004", "OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_NUM_PARALLEL": "4"},
        "OLLAMA_MODELS": str(tmp_path / "home" / ".ollama" / "models"),
    }


def settings(**more: Any) -> dict[str, Any]:
    return OllamaSettings(warmup_seconds=0, **more).model_dump()


def test_an_ollama_loads_its_model_once_and_keeps_it(tmp_path: Path) -> None:
    loaded: dict[str, Any] = {"models": []}

    def load(_number: int) -> list[tuple[float, bytes]]:
        loaded["models"].append({"name": "llama2:latest", "size": 5})
        return [(0, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")]

    server = ModelServer(load, pages={"/api/tags": {"models": [{"name": "llama2:latest"}]}, "/api/ps": loaded})
    with model_server(server):
        for _ in range(2):
            OllamaService().health(settings(), server.port)
        assert [one.body for one in server.log] == [{"model": "llama2:latest", "keep_alive": -1}]
        assert OllamaService().metrics(settings(), server.port) == {"size": 5}


def test_a_model_that_is_not_there_is_only_downloaded_if_the_recipe_asks_for_it() -> None:
    tags: dict[str, Any] = {"models": [{"name": "other:1b"}]}

    def pull(_number: int) -> list[tuple[float, bytes]]:
        tags["models"].append({"name": "llama2:latest"})
        lines = b'{"status": "pulling", "completed": 1, "total": 2}\n{"status": "success"}\n'
        return [(0, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(lines) + b"0\r\n\r\n")]

    server = ModelServer(pull, pages={"/api/tags": tags, "/api/ps": {"models": [{"name": "llama2:latest"}]}})
    with model_server(server):
        with pytest.raises(ModelInvalid, match=r"does not have 'llama2'; it has other:1b\. Type `ollama pull llama2`"):
            OllamaService().health(settings(), server.port)
        assert server.log == []
        OllamaService().health(settings(pull=True), server.port)
        assert [one.body for one in server.log] == [{"model": "llama2:latest", "stream": True}]


def test_a_download_that_fails_ends_the_job_with_its_reason() -> None:
    refused = [(0.0, b'HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{"error": "no such model"}')]
    server = ModelServer(lambda _number: refused, pages={"/api/tags": {"models": []}})
    with model_server(server), pytest.raises(EngineUnavailable, match="cannot be downloaded: no such model"):
        OllamaService().health(settings(pull=True), server.port)


@pytest.mark.parametrize("service", [VllmService(), OllamaService()])
def test_a_port_on_which_nobody_listens_is_not_healthy(service: VllmService | OllamaService) -> None:
    port = free_port()
    with pytest.raises(NotHealthy, match=str(port)):
        service.health(settings(), port)
    assert service.metrics(settings(), port) == {}
