"""Reads the processor's name, its cores, and the vector instructions that inference libraries use."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

# These features matter to a reader of benchmark results. The kernel lists a hundred more.
TELLING_FEATURES = (
    *(
        "sse4_2",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "avx_vnni",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
    ),
    *("neon", "asimd", "asimddp", "asimdhp", "fphp", "i8mm", "bf16", "sve", "sve2", "sme"),
)


@dataclass(frozen=True)
class Cpu:
    model: str
    cores_physical: int
    cores_logical: int
    architecture: str
    features: tuple[str, ...]
    max_mhz: float | None


def read_cpu() -> Cpu:
    logical = psutil.cpu_count(logical=True) or 1
    frequency = psutil.cpu_freq()
    cpuinfo = _cpuinfo()
    return Cpu(
        model=_model(cpuinfo),
        cores_physical=psutil.cpu_count(logical=False) or logical,
        cores_logical=logical,
        architecture=platform.machine(),
        features=_features(cpuinfo),
        max_mhz=(frequency.max or frequency.current or None) if frequency else None,
    )


def _cpuinfo() -> dict[str, str]:
    """Return the fields of /proc/cpuinfo for the first processor, and those after the last one on small ARM boards. Empty elsewhere."""
    path = Path("/proc/cpuinfo")
    return parse_cpuinfo(path.read_text(errors="replace")) if path.exists() else {}


def parse_cpuinfo(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def _model(cpuinfo: dict[str, str]) -> str:
    if platform.system() == "Darwin" and (brand := _sysctl("machdep.cpu.brand_string")):
        return brand
    # x86 has `model name`; a Raspberry Pi has `model` (the board) or `hardware` (the chip).
    for key in ("model name", "model", "hardware", "cpu model"):
        if (name := cpuinfo.get(key, "")) and not name.isdigit():
            return " ".join(name.split())
    return _device_tree() or platform.processor() or platform.machine() or "unknown"


def _device_tree() -> str:
    path = Path("/proc/device-tree/model")
    return path.read_bytes().rstrip(b"\0").decode(errors="replace") if path.exists() else ""


def _features(cpuinfo: dict[str, str]) -> tuple[str, ...]:
    listed = set((cpuinfo.get("flags") or cpuinfo.get("features") or "").split())
    if platform.system() == "Darwin":
        listed = {"neon", "asimd", "fphp"} if platform.machine() == "arm64" else set(_sysctl("machdep.cpu.features").lower().split())
    return tuple(feature for feature in TELLING_FEATURES if feature in listed)


def _sysctl(name: str) -> str:
    answer = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
