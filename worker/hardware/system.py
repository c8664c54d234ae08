"""Reads the operating system, the memory and the network address of this device."""

from __future__ import annotations

import platform
import socket
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class System:
    hostname: str
    os: str  # the usual spelling: Linux, macOS, Windows
    os_version: str
    kernel: str
    python: str
    boot_time: float  # seconds since 1970


@dataclass(frozen=True)
class Memory:
    total_mb: float  # MB of 2^20 bytes
    available_mb: float
    swap_mb: float


def read_system() -> System:
    name = platform.system()
    return System(
        hostname=socket.gethostname(),
        os={"Darwin": "macOS"}.get(name, name),
        os_version=_os_version(name),
        kernel=platform.release(),
        python=platform.python_version(),
        boot_time=psutil.boot_time(),
    )


def _os_version(name: str) -> str:
    if name == "Darwin":
        return platform.mac_ver()[0]
    if name == "Windows":
        return platform.version()
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.release())
    except OSError:  # a container without /etc/os-release
        return platform.release()


def read_memory() -> Memory:
    memory = psutil.virtual_memory()
    return Memory(total_mb=memory.total / 2**20, available_mb=memory.available / 2**20, swap_mb=psutil.swap_memory().total / 2**20)


def own_address(towards: str) -> str:
    """Return the address that this device uses towards the host `towards`. Empty if there is no route.

    A datagram socket is only connected, which chooses a route and sends nothing.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
