"""Starts vLLM's server, `vllm serve`, and asks it over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.services.base import LOOPBACK, Command, Container, NotHealthy, Place
from worker.services.pages import asked, counters_in, need_200
from worker.services.programs import needed, said_by

ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
ASK_VERSION = "import importlib.metadata as m; print(m.version('vllm'))"
VERSION_S = 30.0
COUNTED = (
    *("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_success_total", "vllm:num_preemptions_total"),
    *("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total", "vllm:kv_cache_usage_perc"),
    *("vllm:num_requests_running", "vllm:num_requests_waiting"),
)


class VllmService:
    """Implements `worker.services.base.Service`."""

    needs_other_user = False

    def version(self) -> str:
        program = find_program()
        # `vllm --version` imports torch, which takes many seconds; the metadata of the package say the same.
        python = next((path for name in ("python", "python3") if (path := program.resolve().parent / name).exists()), None)
        if python is None:
            return "vllm of an unknown version"
        said = said_by(python, ("-I", "-c", ASK_VERSION), VERSION_S)
        return f"vllm {said.strip() or 'of an unknown version'}"

    def check(self, settings: Mapping[str, Any]) -> None:
        del settings
        find_program()

    def data_parent(self, settings: Mapping[str, Any]) -> Path | None:
        del settings
        return None

    def prepare(self, settings: Mapping[str, Any], place: Place) -> Sequence[Command]:
        del settings, place
        return ()

    def command(self, settings: Mapping[str, Any], place: Place) -> Command:
        own = ["serve", settings["model"], "--host", LOOPBACK, "--port", str(place.port)]
        return Command([str(find_program()), *own, *arguments(settings)], {**_caches(), **ENVIRONMENT})

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        del connections
        own = ["--model", settings["model"], "--host", "0.0.0.0", "--port", str(port)]  # noqa: S104 - of the container alone
        return Container([*own, *arguments(settings)], "/root/.cache/huggingface", ENVIRONMENT)

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        del settings
        return f"http://{LOOPBACK}:{port}/v1"

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        del settings
        status, _ = asked(port, "/health")
        if status != 200:
            need_200(port, "/v1/models" if status == 404 else "/health")  # a server may speak only OpenAI's protocol

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        del settings
        try:
            return dict(counters_in(need_200(port, "/metrics").decode(errors="replace"), COUNTED))
        except NotHealthy:
            return {}


def _caches() -> dict[str, str]:
    """Return where the server finds the models and the compiled graphs of the worker's user, because its home is a folder of its own."""
    cache, known = Path.home() / ".cache", os.environ  # noqa: TID251 - variables of other programs
    return {
        "HF_HOME": known.get("HF_HOME", str(cache / "huggingface")),
        "VLLM_CACHE_ROOT": known.get("VLLM_CACHE_ROOT", str(cache / "vllm")),
    }


def arguments(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings of a recipe as options of the server."""
    words = ["--tensor-parallel-size", str(settings["tensor_parallel_size"])]
    words += ["--gpu-memory-utilization", str(settings["gpu_memory_utilization"]), "--dtype", settings["dtype"]]
    for name, option in (("max_model_len", "--max-model-len"), ("max_num_seqs", "--max-num-seqs")):
        if settings[name] is not None:
            words += [option, str(settings[name])]
    words.append("--enable-prefix-caching" if settings["prefix_caching"] else "--no-enable-prefix-caching")
    return [*words, *(["--enforce-eager"] if settings["enforce_eager"] else [])]


def find_program() -> Path:
    """Return the path of the program `vllm`; see `worker.services.programs.needed`."""
    how = "install vLLM in an environment of its own (`pip install vllm`) and put the folder of its programs on the PATH of the worker"
    return needed("vllm", how, packaged=True)
