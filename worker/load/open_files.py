"""Makes sure that a client process may open as many connections as it needs."""

from __future__ import annotations

import sys

from shared.errors import DeviceFailed

SPARE = 64  # files that a process has open besides its connections


def allow_open_files(connections: int) -> None:
    """Raise this process's own limit of open files, as far as the system allows.

    Raises:
        DeviceFailed: The system does not allow enough. The message says what would.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise DeviceFailed(
                f"{connections} connections of one client process need {needed} open files, and this device allows {hard}. "
                f"Start the worker after `ulimit -n {needed}`, or ask for fewer concurrent_clients or more num_clients"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
