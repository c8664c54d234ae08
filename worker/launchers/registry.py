"""Maps the name of each launcher to its class. A new launcher needs one file beside this one, and one line here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import EngineUnavailable, nearest
from worker.plug_ins import named

if TYPE_CHECKING:
    from worker.launchers.base import Launcher

LAUNCHERS: dict[str, str] = {
    "process": "worker.launchers.process:ProcessLauncher",
    "container": "worker.launchers.container:ContainerLauncher",
    # Only tests use it. No recipe can ask for it.
    "fake": "worker.launchers.fake:FakeLauncher",
}


def resolve(name: str) -> Launcher:
    """Return a launcher.

    Raises:
        EngineUnavailable: This worker has no such launcher.
    """
    if name not in LAUNCHERS:
        raise EngineUnavailable(f"this worker has no launcher {name!r}: {nearest(name, list(LAUNCHERS))}")
    made: Launcher = named(LAUNCHERS[name])()
    return made


def container_program() -> str:
    """Return the name of the program that runs containers on this device, or an empty text if there is none."""
    try:
        return Path(named(f"{LAUNCHERS['container'].partition(':')[0]}:find_engine")()).name
    except EngineUnavailable:
        return ""
