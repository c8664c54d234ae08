"""Starts Triton Inference Server on a folder of models, and asks it over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.errors import ModelInvalid
from worker.services.base import LOOPBACK, Command, Container, NotHealthy, Place
from worker.services.pages import need_200
from worker.services.programs import needed

STATISTICS = "/v2/models/stats"


class TritonService:
    """Implements `worker.services.base.Service`."""

    needs_other_user = False

    def version(self) -> str:
        # The program cannot say its version; the result has it from the server itself (`GET /v2`).
        return find_program().name

    def check(self, settings: Mapping[str, Any]) -> None:
        folder = Path(settings["model_repo"])
        if not folder.is_absolute() or not folder.is_dir():
            raise ModelInvalid(
                f"service.settings.model_repo: {settings['model_repo']!r} is no folder of this device; "
                "write the absolute path of the folder with the models"
            )
        if not any(one.is_dir() for one in folder.iterdir()):
            raise ModelInvalid(f"service.settings.model_repo: {folder} has no model; each model is a folder in it, with its versions")

    def data_parent(self, settings: Mapping[str, Any]) -> Path | None:
        del settings
        return None

    def prepare(self, settings: Mapping[str, Any], place: Place) -> Sequence[Command]:
        del settings, place
        return ()

    def command(self, settings: Mapping[str, Any], place: Place) -> Command:
        own = ["--model-repository", settings["model_repo"], "--http-port", str(place.port)]
        local = [word for name in ("http", "metrics", "grpc") for word in (f"--{name}-address", LOOPBACK)]
        return Command([str(find_program()), *own, *local, *arguments(settings)])

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        del connections
        # The folder is one of the container: the models must be in the image.
        return Container(
            ["tritonserver", "--model-repository", settings["model_repo"], "--http-port", str(port), *arguments(settings)], "/data"
        )

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        del settings
        return f"http://{LOOPBACK}:{port}"

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        del settings
        need_200(port, "/v2/health/ready")

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        """Return what the server has counted of each model, by the names of its statistics."""
        del settings
        try:
            told = json.loads(need_200(port, STATISTICS))
        except (NotHealthy, ValueError):
            return {}
        found: dict[str, Any] = {}
        for one in told.get("model_stats") or ():
            name = f"{one['name']}/{one['version']}"
            found |= {f"{name} inference_count": one["inference_count"], f"{name} execution_count": one["execution_count"]}
            found |= {f"{name} {part}_ns": of["ns"] for part, of in one.get("inference_stats", {}).items()}
        return found


def arguments(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings of a recipe as options of the server."""
    grpc, metrics = settings["grpc_port"], settings["metrics_port"]
    return [
        *(("--grpc-port", str(grpc)) if grpc else ("--allow-grpc=false",)),
        *(("--metrics-port", str(metrics)) if metrics else ("--allow-metrics=false",)),
        *("--log-verbose", str(settings["log_verbose"])),
    ]


def find_program() -> Path:
    """Return the path of the program `tritonserver`; see `worker.services.programs.needed`."""
    how = "use an `image` such as nvcr.io/nvidia/tritonserver, or put the program on the PATH of the worker"
    return needed("tritonserver", how)
