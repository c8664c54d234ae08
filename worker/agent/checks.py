"""Implements `validate`: checks everything a worker needs of its device. Each check says what was found and how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import EngineUnavailable, FleetmarkError, InvalidInput
from shared.hosts import in_url
from shared.installation import how_to_install
from worker.access import ACCESS, WHITE_BOX, Access
from worker.agent.capabilities import offered, takes_models
from worker.agent.info import required_token
from worker.engines.registry import find_entry, resolve
from worker.hardware import Hardware, detect
from worker.hardware.identity import LOCK_FILE, IdentityError, known_udid, lock_holder
from worker.samplers.base import Place
from worker.samplers.registry import energy_sources
from worker.settings import WorkerSettings
from worker.supervisor.lock_place import LockPlace, lock_place

OLDEST_PYTHON = (3, 11)
FREE_BYTES = 2 * 2**30  # enough for a large model and its samples
FREE_MEMORY_MB = 256


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    found: str
    mend: str = ""  # empty if the check passed


def check_device(settings: WorkerSettings) -> list[Check]:
    """Run every check. A failed check does not stop the others."""
    hardware = detect()
    return [
        _python(),
        _engines(hardware, ACCESS[settings.worker_type]),
        _identity(settings),
        _folder("state folder", lambda: settings.state_dir, "FLEETMARK_WORKER_STATE_DIR"),
        _folder("spool folder", lambda: settings.spool_dir, "FLEETMARK_WORKER_SPOOL_DIR"),
        _folder("cache folder", lambda: settings.cache_dir, "FLEETMARK_WORKER_CACHE_DIR"),
        _disk(settings),
        _memory(hardware),
        _host_lock(lock_place(settings.worker_lock_file)),
        _info_port(settings),
        _energy(Place()),
    ]


def _python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    ok = sys.version_info >= OLDEST_PYTHON
    return Check("python", ok, found, "" if ok else "install Python 3.11 or newer")


def _engines(hardware: Hardware, access: Access = WHITE_BOX) -> Check:
    capabilities = offered(hardware, access)
    if not access.sees_device:
        mend = "" if capabilities else how_to_install("load")
        return Check("engines", bool(capabilities), f"{', '.join(capabilities) or 'no driver is installed'}; {access.hidden}", mend)
    if not any(map(takes_models, capabilities)):
        mend = how_to_install("onnx")
        if platform.system() in ("Linux", "Windows"):
            mend += f", or with an NVIDIA GPU: {how_to_install('onnx-cuda')}"
        only = f"; without one, this worker serves {', '.join(capabilities)} alone" if capabilities else ""
        return Check("engines", False, (hardware.onnxruntime.note or "no engine runs models here") + only, mend)
    broken: list[str] = []
    for capability in capabilities:
        if find_entry(capability) is None:  # it measures the device itself, in no engine
            continue
        try:
            resolve(capability)
        except EngineUnavailable as error:
            broken.append(error.detail)
    if broken:
        return Check("engines", False, "; ".join(broken), "install what is named")
    return Check("engines", True, ", ".join(capabilities))


def _identity(settings: WorkerSettings) -> Check:
    try:
        udid = known_udid(settings.state_dir)
        holder = lock_holder(settings.state_dir / LOCK_FILE)
    except (IdentityError, OSError) as error:
        return Check("identity", False, str(error), "delete the identity file; the device registers as a new one")
    except FleetmarkError as error:
        return Check("identity", False, error.detail, "set FLEETMARK_WORKER_STATE_DIR")
    found = udid or "none yet; the first start makes one"
    return Check("identity", True, f"{found}{f' (a worker runs with it: process {holder})' if holder else ''}")


def _folder(name: str, folder: Callable[[], Path], variable: str) -> Check:
    """Check that a folder exists or can be created. If it does not exist, its first existing parent must be writable."""
    try:
        path = folder()
    except FleetmarkError as error:
        return Check(name, False, error.detail, f"set {variable}")
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Check(name, False, f"{existing} cannot be written", f"make it writable, or set {variable}")
    return Check(name, True, str(path))


def _disk(settings: WorkerSettings) -> Check:
    try:
        path = settings.cache_dir
    except FleetmarkError as error:
        return Check("disk", False, error.detail, "set FLEETMARK_WORKER_CACHE_DIR")
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    ok = free >= FREE_BYTES
    mend = "" if ok else "free some space, or set FLEETMARK_WORKER_CACHE_DIR to a larger disk"
    return Check("disk", ok, f"{free / 2**30:.1f} GB free at {existing}", mend)


def _memory(hardware: Hardware) -> Check:
    ok = hardware.memory.available_mb >= FREE_MEMORY_MB
    return Check("memory", ok, f"{hardware.memory.available_mb:.0f} MB available", "" if ok else "end other programs")


def _host_lock(place: LockPlace) -> Check:
    """Check that this user can take the lock of the host. The workers of a host share it, so that they never measure at the same time."""
    path, doubt = place.path, f" ({place.doubt})" if place.doubt else ""
    if path.exists():
        ok = os.access(path, os.R_OK)
        mend = "" if ok else f"it belongs to another user: chmod 666 {path}, or run every worker as one user"
        return Check("host-wide lock", ok, f"{path}{doubt}", mend)
    parent = next(folder for folder in path.parents if folder.exists())
    ok = os.access(parent, os.W_OK)
    return Check("host-wide lock", ok, f"{path} (made at the first job){doubt}", "" if ok else f"make {parent} writable")


def _energy(place: Place) -> Check:
    """Say what shows the energy of this device. A device without that measures everything else, so the check always passes."""
    sources = energy_sources(place)
    found = [name for name, lack in sources.items() if lack is None]
    lacks = [str(lack) for lack in sources.values() if lack is not None and (lack.mend or not found)]
    said = [f"shown by {', '.join(found)}" if found else "not measured", *lacks]
    return Check("energy", True, "; ".join(said))


def _info_port(settings: WorkerSettings) -> Check:
    if settings.worker_port == 0:
        return Check("info server", True, "turned off")
    address = f"{in_url(settings.worker_host)}:{settings.worker_port}"
    try:
        required_token(settings)
    except InvalidInput as error:
        return Check("info server", False, error.detail, "set FLEETMARK_TOKEN, or FLEETMARK_WORKER_HOST=127.0.0.1")
    family = socket.AF_INET6 if ":" in settings.worker_host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name == "posix":  # as the server does; on Windows this option would allow a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.worker_host, settings.worker_port))
        except OSError as error:
            return Check(
                "info server", False, f"{address}: {error.strerror}", "a running worker? Otherwise set FLEETMARK_WORKER_PORT, or 0 for none"
            )
    return Check("info server", True, address)
