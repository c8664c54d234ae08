"""Runs a server as a process of this device."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Any

from shared.errors import DeviceFailed
from shared.masking import masked, without_credentials
from worker.launchers.kept import LOG, Kept, KeptServer
from worker.services.base import Command, Place, Service

PREPARE_S = 120.0


class ProcessLauncher:
    """Implements `worker.launchers.base.Launcher`."""

    def check(self, service: Service, own: Mapping[str, Any]) -> str:
        del own
        return service.version()

    def start(self, service: Service, settings: Mapping[str, Any], place: Place, own: Mapping[str, Any]) -> KeptServer:
        del own
        inherited = {**without_credentials(os.environ), "HOME": str(place.folder)}  # noqa: TID251 - what any program inherits
        for command in service.prepare(settings, place):
            _run(command, place, inherited)
        command = service.command(settings, place)
        kept = Kept(
            words=list(command.words),
            folder=str(place.folder),
            log=str(place.folder / LOG),
            environment={**inherited, **command.environment},
            stop_signal=command.stop_signal,
            user=place.user,
            remove=[str(place.folder)],
        )
        try:
            return KeptServer(kept)
        except OSError as error:
            raise DeviceFailed(f"no process for the service could be started: {error}") from error


def _run(command: Command, place: Place, inherited: Mapping[str, str]) -> None:
    as_user: dict[str, Any] = {} if place.user is None else {"user": place.user, "group": place.user, "extra_groups": []}
    program = command.words[0]
    try:
        done = subprocess.run(
            list(command.words),
            cwd=place.folder,
            env={**inherited, **command.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PREPARE_S,
            check=False,
            **as_user,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceFailed(f"{program} could not prepare the service: {error}") from error
    if done.returncode:
        said = masked((done.stderr or done.stdout).strip()[-2_000:])
        raise DeviceFailed(f"{program} could not prepare the service (exit code {done.returncode}); it said: {said}")
