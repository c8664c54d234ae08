"""Samples the whole device: its CPUs, its memory, its disks and its network.

On Linux it reads /proc itself, because that takes a tenth of psutil's CPU time. Elsewhere it asks psutil.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.clock import SystemClock
from shared.columns import Column
from worker.samplers.base import Lack, Place, Values
from worker.samplers.kept_file import KeptFile
from worker.samplers.rates import Rates

MB = 2**20
SECTOR_BYTES = 512  # the unit of /proc/diskstats, whatever the disk's own sectors are (kernel documentation, iostats)
TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
FILES = ("stat", "meminfo", "diskstats", "net/dev")


def lack(place: Place) -> Lack | None:  # noqa: ARG001 - every device has a CPU
    return None


class WholeDevice:
    """Samples the use of the whole device. A source that the system does not show is a column with its reason."""

    def __init__(self, place: Place) -> None:
        self._root = place.root
        self._proc = place.root / "proc"
        self._linux = (self._proc / "stat").exists()
        self._files: dict[str, KeptFile] = {}
        self._missing: dict[str, str] = {}
        self._disks: frozenset[str] = frozenset()
        self._block, self._net = place.root / "sys/block", place.root / "sys/class/net"
        self._layers: frozenset[str] = frozenset()
        self._rates = Rates(SystemClock())

    def open(self) -> Sequence[Column]:
        if self._linux:
            for name in FILES:
                try:
                    self._files[name] = KeptFile(self._proc / name)
                except OSError as error:
                    self._lose(name, f"/proc/{name} cannot be read: {error.strerror}")
            self._list_parts()
        self.read()
        return [
            Column(name=name, unit=unit, source="device", missing=self._missing.get(name, ""))
            for name, unit in (
                ("device_cpu_percent", "percent of a core"),
                ("device_memory_mb", "MB"),
                ("device_read_mb_per_s", "MB/s"),
                ("device_written_mb_per_s", "MB/s"),
                ("device_received_mb_per_s", "MB/s"),
                ("device_sent_mb_per_s", "MB/s"),
            )
        ]

    def read(self) -> Values:
        counters, memory = self._of_proc() if self._linux else _of_psutil()
        rates = self._rates.of(counters)
        cpu = rates.get("cpu_s")
        flows = (_total(rates, name) for name in ("read", "written", "received", "sent"))
        return (None if cpu is None else 100 * cpu, memory, *(None if flow is None else flow / MB for flow in flows))

    def missing(self) -> Mapping[str, str]:
        return self._missing

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _list_parts(self) -> None:
        """Find out which disks and interfaces count. Without that, their bytes would be missing, or counted twice."""
        for file, folder in (("diskstats", self._block), ("net/dev", self._net)):
            if file not in self._files:
                continue
            try:
                if file == "diskstats":
                    self._disks = _disks_of(folder)
                else:
                    self._layers = _layers_of(folder)
            except OSError as error:
                self._lose(file, f"/{folder.relative_to(self._root).as_posix()} cannot be read: {error.strerror}")

    def _lose(self, file: str, why: str) -> None:
        columns = {
            "stat": ("device_cpu_percent",),
            "meminfo": ("device_memory_mb",),
            "diskstats": ("device_read_mb_per_s", "device_written_mb_per_s"),
            "net/dev": ("device_received_mb_per_s", "device_sent_mb_per_s"),
        }
        if (kept := self._files.pop(file, None)) is not None:
            kept.close()
        self._missing |= dict.fromkeys(columns[file], why)

    def _of_proc(self) -> tuple[dict[str, float], float | None]:
        counters: dict[str, float] = {}
        memory = None
        for name, file in list(self._files.items()):
            try:
                if name == "stat":
                    counters["cpu_s"] = _busy_s(file.beginning())
                elif name == "meminfo":
                    memory = _used_mb(file.beginning())
                elif name == "diskstats":
                    counters |= _disk_bytes(file.text(), self._disks)
                else:
                    counters |= _network_bytes(file.text(), self._layers)
            except (OSError, ValueError, IndexError, KeyError) as error:
                self._lose(name, f"/proc/{name} could not be read any more: {error}")
        return counters, memory


def _busy_s(text: str) -> float:
    """Return the CPU seconds of all CPUs without idle time, waiting for I/O and stolen time (proc(5)). User time includes guest time."""
    user, nice, system, _idle, _iowait, irq, softirq = (int(word) for word in text[: text.index("\n")].split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS_PER_S


def _used_mb(text: str) -> float:
    """Return the memory that is not available, in MB. `MemAvailable` is the third line; a kernel before 3.14 has none."""
    lines = dict(line.split(":", 1) for line in text[:200].splitlines()[:3])
    return (int(lines["MemTotal"].split()[0]) - int(lines["MemAvailable"].split()[0])) / 1024


def _total(rates: Mapping[str, float], flow: str) -> float | None:
    """Return the rate of all disks, or of all interfaces, together. None if there is no rate yet, or none of these is shown."""
    parts = [rate for name, rate in rates.items() if name.partition(" ")[0] == flow]
    return sum(parts) if parts else None


def _disk_bytes(text: str, disks: frozenset[str]) -> dict[str, float]:
    """Return the bytes of each disk, because the sum of all falls when one is taken away."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 9 and fields[2] in disks:
            found[f"read {fields[2]}"] = float(int(fields[5]) * SECTOR_BYTES)
            found[f"written {fields[2]}"] = float(int(fields[9]) * SECTOR_BYTES)
    return found or {"read ": 0.0, "written ": 0.0}


def _network_bytes(text: str, layers: frozenset[str]) -> dict[str, float]:
    """Return the bytes of each interface but the loopback and those above others."""
    found: dict[str, float] = {}
    for line in text.splitlines()[2:]:
        name, _, counters = line.partition(":")
        if (name := name.strip()) != "lo" and name not in layers:
            fields = counters.split()
            found[f"received {name}"], found[f"sent {name}"] = float(fields[0]), float(fields[8])
    return found or {"received ": 0.0, "sent ": 0.0}


def _of_psutil() -> tuple[dict[str, float], float | None]:
    import psutil  # macOS and Windows

    times = psutil.cpu_times()
    counters = {"cpu_s": float(sum(times) - times.idle)}
    disks, network, memory = psutil.disk_io_counters(), psutil.net_io_counters(), psutil.virtual_memory()
    if disks is not None:
        counters |= {"read": float(disks.read_bytes), "written": float(disks.write_bytes)}
    if network is not None:
        counters |= {"received": float(network.bytes_recv), "sent": float(network.bytes_sent)}
    return counters, (memory.total - memory.available) / MB


def _disks_of(block: Path) -> frozenset[str]:
    """Return the disks of a machine, without partitions and without the layers above a disk, which show the same bytes again.

    Raises:
        OSError: The folder does not exist, or this user may not see it, as in some containers.
    """
    return frozenset(one.name for one in block.iterdir() if not one.name.startswith(("loop", "ram", "dm-", "md", "zram")))


def _layers_of(net: Path) -> frozenset[str]:
    """Return the interfaces without hardware, such as bridges and those of containers: what passes them passes hardware, too.

    In a container no interface has hardware. There, none is above another.

    Raises:
        OSError: The folder does not exist, or this user may not see it, as in some containers.
    """
    names = [one.name for one in net.iterdir()]
    without = frozenset(name for name in names if not (net / name / "device").exists())
    return without if len(without) < len(names) else frozenset()
