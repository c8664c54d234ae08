"""Makes sure that a client process may open as many connections as it needs, and says before a load if it may not."""

from __future__ import annotations

import sys
from pathlib import Path

from shared.errors import ModelInvalid

SPARE = 64  # files that a process has open besides its connections
PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def check_connections(concurrent: int, clients: int, *, with_server: bool) -> None:
    """Check that this device allows the connections of a load, before anything is started.

    Args:
        concurrent: How many connections each client process opens.
        clients: How many client processes there are.
        with_server: Whether the server runs on this device, too: it has a file open for each connection.

    Raises:
        ModelInvalid: It does not. The message says what would.
    """
    total = concurrent * clients
    if (ports := _ports()) is not None and total > ports:
        raise ModelInvalid(
            f"{clients} client processes with {concurrent} connections each need {total} ports, and this device has {ports} for "
            f"connections to one address ({PORTS}); ask for fewer concurrent_clients or num_clients"
        )
    needed = max(concurrent, total if with_server else 0) + SPARE
    who = f"the server's {total} connections" if with_server and clients > 1 else f"{concurrent} connections of one client process"
    if (allowed := _allowed()) is not None and allowed < needed:
        raise ModelInvalid(
            f"{who} need {needed} open files, and this device allows {allowed}. "
            f"Start the worker after `ulimit -n {needed}`, or ask for fewer concurrent_clients"
        )


def allow_open_files(connections: int) -> None:
    """Raise this process's own limit of open files, as far as the system allows.

    Raises:
        ModelInvalid: The system does not allow enough. The message says what would.
    """
    if sys.platform == "win32":
        return
    import resource

    check_connections(connections, 1, with_server=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _allowed() -> int | None:
    """Return how many files a process may open if it raises its own limit. None means that there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _ports() -> int | None:
    """Return how many connections to one address the system has ports for. None if that is not known."""
    try:
        first, last = map(int, PORTS.read_text().split())
    except (OSError, ValueError):
        return None
    return last - first + 1
