"""Reads what kind of machine this is, where it affects how steady timings are: virtual, on battery, in a container, loaded."""

from __future__ import annotations

from pathlib import Path

import psutil


def on_battery() -> bool | None:
    """Return whether the device runs on its battery, or None if it has none, or does not say it."""
    try:
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    except FileNotFoundError:  # some containers and small systems have no /sys/class/power_supply
        return None
    return None if battery is None or battery.power_plugged is None else not battery.power_plugged


def load_1m() -> float | None:
    return psutil.getloadavg()[0] if hasattr(psutil, "getloadavg") else None


def virtual() -> bool | None:
    """Return whether this is a virtual machine: by the processor's hypervisor flag on x86, elsewhere by the firmware's product name."""
    cpuinfo = _text(Path("/proc/cpuinfo"))
    if cpuinfo and "flags" in cpuinfo:
        flags = next(line for line in cpuinfo.splitlines() if line.startswith("flags"))
        return "hypervisor" in flags.split()
    product = _text(Path("/sys/class/dmi/id/product_name"))
    return None if product is None else any(word in product.lower() for word in ("virtual", "kvm", "qemu", "vmware", "ec2"))


def in_container(root: Path = Path("/")) -> bool:
    """Return whether this process runs in a container.

    Docker and Podman create a marker file. Older Kubernetes and LXC appear in the control groups. Newer Kubernetes can be recognised
    only by a layered root file system. A virtual machine that was made from a container image has the marker file, too, but its root
    is a whole disk.
    """
    mount = next((line.split() for line in (_text(root / "proc/self/mountinfo") or "").splitlines() if line.split()[4:5] == ["/"]), [])
    kind, source = mount[mount.index("-") + 1 :][:2] if "-" in mount else ("", "")
    if source.startswith("/dev/") and mount[3] == "/":
        return False
    if any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv")):
        return True
    groups = _text(root / "proc/1/cgroup") or ""
    if any(word in groups for word in ("docker", "kubepods", "containerd", "/lxc", "libpod")):
        return True
    return kind == "overlay" and _text(root / "proc/1/comm") not in ("systemd", "init")


def mount_points(root: Path = Path("/")) -> frozenset[str]:
    """Return every mount point that this process sees (proc(5), mountinfo)."""
    lines = (_text(root / "proc/self/mountinfo") or "").splitlines()
    return frozenset(fields[4].replace("\\040", " ") for line in lines if len(fields := line.split()) > 4)


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
