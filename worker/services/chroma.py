"""Starts Chroma."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.services.base import LOOPBACK, Command, Container, Place
from worker.services.data_folder import checked
from worker.services.pages import need_200
from worker.services.programs import needed, said_by

VERSION_S = 60.0  # the program is a Python package, which a slow device imports for long
QUIET = {"ANONYMIZED_TELEMETRY": "False", "NO_COLOR": "1"}  # it tells nobody what it does, and its words are shown in errors


class ChromaService:
    """Implements `worker.services.base.Service`."""

    needs_other_user = False

    def version(self) -> str:
        said = said_by(find_program(), timeout_s=VERSION_S)
        return f"Chroma (its program {' '.join(said.split()) or 'of an unknown version'})"

    def check(self, settings: Mapping[str, Any]) -> None:
        checked(settings["data_dir"])

    def data_parent(self, settings: Mapping[str, Any]) -> Path | None:
        return Path(settings["data_dir"]) if settings["data_dir"] else None

    def prepare(self, settings: Mapping[str, Any], place: Place) -> Sequence[Command]:
        del settings, place
        return ()

    def command(self, settings: Mapping[str, Any], place: Place) -> Command:
        words = [str(find_program()), "run", "--path", str(place.folder / "data"), "--host", settings["host"], "--port", str(place.port)]
        return Command(words, QUIET)

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        del settings, connections
        return Container(["run", "--path", "/data", "--host", "0.0.0.0", "--port", str(port)], "/data", QUIET)  # noqa: S104 - in the container

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        del settings
        return f"http://{LOOPBACK}:{port}"

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        del settings
        need_200(port, "/api/v2/heartbeat")

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        """Return nothing: Chroma shows no counters."""
        del settings, port
        return {}


def find_program() -> Path:
    """Return the path of the program `chroma`; see `worker.services.programs.needed`."""
    how = "install the package `chromadb` in an environment of its own and put its `bin` on the worker's PATH"
    return needed("chroma", how, packaged=True)
