"""The whole device is read from files of /proc as Linux gives them: a page at a time, and with the same bytes in several lines."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests import sampled
from worker.samplers import kept_file
from worker.samplers.base import Place, Sampler, Values
from worker.samplers.kept_file import KeptFile
from worker.samplers.registry import make

MB = 2**20


def opened(name: str, root: Path) -> tuple[Sampler, dict[str, int]]:
    sampler = make(name, Place(root))
    return sampler, {column.name: place for place, column in enumerate(sampler.open())}


def proc(root: Path, sectors: int = 0, received: int = 0) -> None:
    disks = "".join(f"   7  {number} loop{number} 0 0 0 0 0 0 0 0 0 0 0\n" for number in range(60))
    sampled.put(root / "proc/diskstats", f"{disks}   8  0 sda 1 0 {sectors} 0 1 0 0 0 0 0 0")
    sampled.put(root / "proc/stat", "cpu  1 0 1 1 0 0 0 0 0 0")
    sampled.put(root / "proc/meminfo", "MemTotal: 2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB")
    line = f"{received} 0 0 0 0 0 0 0 {received} 0 0 0 0 0 0 0"
    sampled.put(root / "proc/net/dev", "Inter-|\n face |\n" + "\n".join(f"  {name}: {line}" for name in ("lo", "eth0", "br0", "veth1")))
    (root / "sys/block/sda").mkdir(parents=True, exist_ok=True)
    (root / "sys/class/net").mkdir(parents=True, exist_ok=True)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_a_file_of_proc_is_read_to_its_end_though_one_reading_gives_a_page() -> None:
    file = KeptFile(Path("/proc/self/maps"))
    assert len(file.beginning()) <= os.sysconf("SC_PAGE_SIZE")
    assert len(file.text()) > 2 * len(file.beginning())
    file.close()


def test_a_disk_behind_many_others_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with 40 loop devices, the disk is in the second page, and its reads would be 0 MB/s."""
    monkeypatch.setattr(kept_file, "BYTES", 100)
    proc(tmp_path)
    sampler, at = opened("device", tmp_path)
    proc(tmp_path, sectors=10**6)
    value = sampler.read()[at["device_read_mb_per_s"]]
    assert value is not None
    assert value > 0


def test_the_clock_of_a_cpu_behind_many_others_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_file, "BYTES", 100)
    cpus = (f"processor\t: {number}\nflags\t\t: {'fpu ' * 100}\ncpu MHz\t\t: {2_000 + number}.000\n\n" for number in range(8))
    sampled.put(tmp_path / "proc/cpuinfo", "".join(cpus))
    sampler, at = opened("cpu", tmp_path)
    assert sampler.read()[at["device_cpu_mhz"]] == 2_007.0


@pytest.mark.parametrize(("hardware", "counted"), [(("eth0",), 1), ((), 3)])
def test_bytes_that_pass_a_bridge_are_counted_once(tmp_path: Path, hardware: tuple[str, ...], counted: int) -> None:
    proc(tmp_path)
    for name in ("lo", "eth0", "br0", "veth1"):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
    for name in hardware:
        (tmp_path / "sys/class/net" / name / "device").mkdir()
    sampler, at = opened("device", tmp_path)
    proc(tmp_path, sectors=2048, received=1 * MB)
    values = sampler.read()
    received, read = values[at["device_received_mb_per_s"]], values[at["device_read_mb_per_s"]]
    assert received is not None
    assert read is not None
    assert received / read == pytest.approx(counted), "1 MB was read from the disk in the same time"


def test_a_network_interface_that_comes_or_goes_is_no_burst_of_bytes(tmp_path: Path) -> None:
    """The counters of an interface that a VPN adds, and of the others when it is taken away, are not what was sent between two samples."""

    def show(**received: int) -> None:
        lines = (f"  {name}: {bytes_} 0 0 0 0 0 0 0 {bytes_} 0 0 0 0 0 0 0" for name, bytes_ in received.items())
        sampled.put(tmp_path / "proc/net/dev", "Inter-|\n face |\n" + "\n".join(lines))

    proc(tmp_path)
    show(eth0=10**12)
    sampler, at = opened("device", tmp_path)
    place = at["device_received_mb_per_s"]
    for now in ({"eth0": 10**12, "tun0": 10**11}, {"eth0": 10**12, "tun0": 10**11}, {"eth0": 10**12}):
        show(**now)
        assert sampler.read()[place] == 0.0


@pytest.mark.parametrize(
    ("folder", "lost", "kept"),
    [
        ("sys/block", ("device_read_mb_per_s", "device_written_mb_per_s"), "device_received_mb_per_s"),
        ("sys/class/net", ("device_received_mb_per_s", "device_sent_mb_per_s"), "device_read_mb_per_s"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_listed_costs_its_own_columns_only(
    tmp_path: Path, folder: str, lost: tuple[str, ...], kept: str, there: bool
) -> None:
    """Without it no disk is known, and what passes a bridge would be counted twice. Both must be null with the reason, and not a number."""
    proc(tmp_path)
    shutil.rmtree(tmp_path / folder)
    if there:
        sampled.put(tmp_path / folder, "no folder")
    sampler = make("device", Place(tmp_path))
    columns = {column.name: column for column in sampler.open()}
    values = dict(zip(columns, _after_traffic(sampler, tmp_path), strict=True))
    assert [values[name] for name in lost] == [None, None]
    for name in lost:
        assert columns[name].missing.startswith(f"/{folder} cannot be read: ")
        assert sampler.missing()[name] == columns[name].missing
    assert (values["device_memory_mb"], columns["device_memory_mb"].missing) == (1.0, "")
    assert (values[kept] or 0.0) > 0
    sampler.close()


def _after_traffic(sampler: Sampler, root: Path) -> Values:
    """Return what is sampled after 450 MB were read from the disk and received."""
    sampled.put(root / "proc/diskstats", f"   8  0 sda 1 0 {450 * 2048} 0 1 0 0 0 0 0 0")
    sampled.put(root / "proc/net/dev", f"Inter-|\n face |\n  eth0: {450 * MB} 0 0 0 0 0 0 0 {450 * MB} 0 0 0 0 0 0 0")
    return sampler.read()
