"""Runs a server in a container of docker, podman or apptainer, whichever the device has."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import DeviceFailed, EngineUnavailable
from shared.masking import without_credentials
from worker.launchers.kept import LOG, Kept, KeptServer
from worker.services.base import LOOPBACK, Place, Service

ENGINES = ("docker", "podman", "apptainer", "singularity")
GRACE_S = 20.0


class ContainerLauncher:
    """Implements `worker.launchers.base.Launcher`."""

    def check(self, service: Service, own: Mapping[str, Any]) -> str:
        del service
        return f"{own['image']} ({Path(find_engine()).name})"

    def start(self, service: Service, settings: Mapping[str, Any], place: Place, own: Mapping[str, Any]) -> KeptServer:
        engine = find_engine()
        name = f"fleetmark-{place.folder.name}"
        kept = Kept(
            words=command_line(engine, str(own["image"]), name, service, settings, place),
            folder=str(place.folder),
            log=str(place.folder / LOG),
            environment={
                **without_credentials(os.environ),  # noqa: TID251 - what any program inherits
                **variables(engine, service, settings, place),
            },
            stop_signal=signal.SIGTERM,
            grace_s=GRACE_S,
            after=removal(engine, name),
            remove=[str(place.folder)],
        )
        try:
            return KeptServer(kept)
        except OSError as error:
            raise DeviceFailed(f"no process for the container could be started: {error}") from error


def find_engine() -> str:
    """Return the path of a program that runs containers.

    Raises:
        EngineUnavailable: There is none.
    """
    for name in ENGINES:
        if found := shutil.which(name):
            return found
    raise EngineUnavailable(
        f"no program that runs containers is on this device ({', '.join(ENGINES)}): install one, or leave `image` out of the recipe, "
        "so that the service is started as a process"
    )


def command_line(engine: str, image: str, name: str, service: Service, settings: Mapping[str, Any], place: Place) -> list[str]:
    """Return the command that runs a server in the foreground. Its port is open on 127.0.0.1 only where the engine can do that.

    Apptainer has no network of its own for a container, so the server listens on all addresses of the device. The values of the server's
    variables are not in the command, because every user of the device can read it; see `variables`.
    """
    made = service.container(settings, place.port, place.connections)
    if _is_of_docker(engine):
        named = [word for key in made.environment for word in ("--env", key)]
        port = f"{LOOPBACK}:{place.port}:{place.port}"
        return [engine, "run", "--rm", "--name", name, "--publish", port, *named, image, *made.arguments]
    whole = image if "://" in image or image.endswith(".sif") else f"docker://{image}"
    bind = ["--bind", f"{place.folder}:{made.data}"]
    return [engine, "run", "--containall", "--writable-tmpfs", *bind, whole, *made.arguments]


def variables(engine: str, service: Service, settings: Mapping[str, Any], place: Place) -> dict[str, str]:
    """Return the variables with which the engine is started, so that the server in the container has its own: its password is among them.

    Docker and podman hand on those that the command names. Apptainer and singularity hand on those with a prefix of theirs.
    """
    made = service.container(settings, place.port, place.connections).environment
    if _is_of_docker(engine):
        return dict(made)
    return {f"{Path(engine).name.upper()}ENV_{key}": value for key, value in made.items()}


def _is_of_docker(engine: str) -> bool:
    return Path(engine).name in ("docker", "podman")


def removal(engine: str, name: str) -> list[str]:
    """Return the command that removes the container if it still exists, because its engine keeps it in a process of its own."""
    return [engine, "rm", "--force", "--volumes", name] if _is_of_docker(engine) else []
