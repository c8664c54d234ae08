"""Starts Ollama's server, `ollama serve`, loads the model, and asks it over HTTP."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.clock import SystemClock
from shared.errors import EngineUnavailable, ModelInvalid
from worker.services.base import LOOPBACK, Command, Container, NotHealthy, Place
from worker.services.pages import asked, lines_of, need_200
from worker.services.programs import needed, said_by

LOAD_S = 120.0  # one look waits so long for the model to load
PULL_LOOK_S = 5.0  # one look at a download lasts so long; the next one goes on where this one has ended
FOREVER = -1  # how long the model stays in memory


class OllamaService:
    """Implements `worker.services.base.Service`. Models are in the folder where `ollama` keeps them for the user of the worker."""

    needs_other_user = False

    def version(self) -> str:
        said = said_by(find_program(), errors=True)
        number = re.search(r"version(?: is)? v?(\d[\w.+-]*)", said)
        return f"ollama {number[1] if number else 'of an unknown version'}"

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
        # Its home is a folder of its own, and the models are in the home of the worker's user.
        models = os.environ.get("OLLAMA_MODELS", str(Path.home() / ".ollama" / "models"))  # noqa: TID251 - a variable of Ollama
        return Command([str(find_program()), "serve"], environment(settings, f"{LOOPBACK}:{place.port}") | {"OLLAMA_MODELS": models})

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        del connections
        return Container(["serve"], "/root/.ollama", environment(settings, f"0.0.0.0:{port}"))

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        del settings
        return f"http://{LOOPBACK}:{port}"

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        """Ask for the models, and load the one of the recipe if it is not in memory. See `worker.services.base.Service`.

        Raises:
            ModelInvalid: The device does not have the model, and the recipe does not ask for the download.
        """
        model = _tagged(settings["model"])
        if model not in _names(port, "/api/tags"):
            if not settings["pull"]:
                raise ModelInvalid(
                    f"service.settings.model: Ollama on this device does not have {settings['model']!r}; it has "
                    f"{', '.join(sorted(_names(port, '/api/tags'))) or 'no model'}. Type `ollama pull {settings['model']}` there, or write "
                    "`pull: true` to download it before the job"
                )
            _pull(port, model)
        if model in _names(port, "/api/ps"):
            return
        status, body = asked(port, "/api/generate", {"model": model, "keep_alive": FOREVER}, LOAD_S)
        if status != 200:
            raise NotHealthy(f"the model {model} was not loaded: status {status}, {body[:300].decode(errors='replace')}")
        SystemClock().sleep(settings["warmup_seconds"])

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        model = _tagged(settings["model"])
        try:
            loaded = [one for one in _listed(port, "/api/ps") if one.get("name") == model]
        except NotHealthy:
            return {}
        return {name: loaded[0][name] for name in ("size", "size_vram", "context_length", "digest") if loaded and name in loaded[0]}


def environment(settings: Mapping[str, Any], host: str) -> dict[str, str]:
    """Return the variables by which the server is configured."""
    parallel = {} if settings["num_parallel"] is None else {"OLLAMA_NUM_PARALLEL": str(settings["num_parallel"])}
    return {"OLLAMA_HOST": host, "OLLAMA_KEEP_ALIVE": str(FOREVER), **parallel}


def find_program() -> Path:
    """Return the path of the program `ollama`; see `worker.services.programs.needed`."""
    return needed("ollama", "install it as https://ollama.com/download says")


def _pull(port: int, model: str) -> None:
    """Go on with the download of a model, for a few seconds.

    Raises:
        NotHealthy: It has not ended yet. The text says how far it is.
        EngineUnavailable: It cannot be downloaded.
    """
    clock = SystemClock()
    ends_at = clock.monotonic() + PULL_LOOK_S
    for line in lines_of(port, "/api/pull", {"model": model, "stream": True}, PULL_LOOK_S):
        if line.get("error"):
            raise EngineUnavailable(f"the model {model} cannot be downloaded: {line['error']}")
        if line.get("status") == "success":
            return
        if clock.monotonic() > ends_at:
            share = f", {line['completed'] / line['total']:.0%} of a part" if line.get("completed") and line.get("total") else ""
            raise NotHealthy(f"the model {model} is being downloaded ({line.get('status', '')}{share})")
    raise NotHealthy(f"the download of the model {model} ended before it was complete")


def _listed(port: int, path: str) -> list[dict[str, Any]]:
    body = need_200(port, path)
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise NotHealthy(f"GET {path} was not answered with a JSON object, but with {body[:200].decode(errors='replace')!r}")
    return [one for one in content.get("models") or () if isinstance(one, dict)]


def _names(port: int, path: str) -> set[str]:
    return {str(one.get("name")) for one in _listed(port, path)}


def _tagged(model: str) -> str:
    """Return the name of a model with its tag, as the server lists it."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"
