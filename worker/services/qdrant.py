"""Starts Qdrant."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.errors import ModelInvalid
from worker.services.base import LOOPBACK, Command, Container, NotHealthy, Place
from worker.services.data_folder import checked
from worker.services.pages import counters_in, need_200
from worker.services.programs import needed, said_by

STORAGE = "/qdrant/storage"
COUNTED = ("collections_total", "collections_vector_total", "rest_responses_total", "rest_responses_fail_total")


class QdrantService:
    """Implements `worker.services.base.Service`."""

    needs_other_user = False

    def version(self) -> str:
        said = said_by(find_program())
        return " ".join(said.split()) or "qdrant of an unknown version"

    def check(self, settings: Mapping[str, Any]) -> None:
        try:
            checked(settings["storage_path"])
        except ModelInvalid as error:
            raise ModelInvalid(error.detail.replace("data_dir", "storage_path")) from error

    def data_parent(self, settings: Mapping[str, Any]) -> Path | None:
        return Path(settings["storage_path"]) if settings["storage_path"] else None

    def prepare(self, settings: Mapping[str, Any], place: Place) -> Sequence[Command]:
        del settings, place
        return ()

    def command(self, settings: Mapping[str, Any], place: Place) -> Command:
        own = {
            "QDRANT__STORAGE__STORAGE_PATH": str(place.folder / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(place.folder / "snapshots"),
        }
        return Command([str(find_program()), "--disable-telemetry"], environment(LOOPBACK, place.port, settings) | own)

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        del connections
        return Container([], STORAGE, environment("0.0.0.0", port, settings) | {"QDRANT__TELEMETRY_DISABLED": "true"})  # noqa: S104 - in the container

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        del settings
        return f"http://{LOOPBACK}:{port}"

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        del settings
        need_200(port, "/healthz")

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        del settings
        try:
            return dict(counters_in(need_200(port, "/metrics").decode(errors="replace"), COUNTED))
        except NotHealthy:
            return {}


def environment(host: str, port: int, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that tell the server where it listens."""
    grpc_port = settings["grpc_port"] or _free_port()
    return {"QDRANT__SERVICE__HOST": host, "QDRANT__SERVICE__HTTP_PORT": str(port), "QDRANT__SERVICE__GRPC_PORT": str(grpc_port)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def find_program() -> Path:
    """Return the path of the program `qdrant`; see `worker.services.programs.needed`."""
    return needed("qdrant", "install Qdrant, write `image: qdrant/qdrant` to start it in a container")
