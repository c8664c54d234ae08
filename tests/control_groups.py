"""Makes real control groups (version 1 or 2, as this machine has) for tests. A test that needs one is marked `cgroups`."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path("/sys/fs/cgroup")
NEEDED = (
    "this test makes a control group, and this user may not: run it as root (or in a delegated group), "
    "or choose to leave such tests out with -m 'not long and not cgroups'"
)


class ControlGroup:
    """Holds a group of one controller. It is removed at the end, and processes that are left in it go back to its parent."""

    controller = ""

    def __init__(self, name: str) -> None:
        unified = not (ROOT / self.controller).is_dir()
        self.version = 2 if unified else 1
        self._parent = ROOT if unified else ROOT / self.controller
        self.folder = self._parent / name

    def __enter__(self) -> Self:
        try:
            if self.version == 2:
                (self._parent / "cgroup.subtree_control").write_text(f"+{self.controller}")
            self.folder.mkdir()
        except OSError as error:
            raise AssertionError(f"{NEEDED}: {error}") from error
        return self

    def add(self, pid: int) -> None:
        (self.folder / "cgroup.procs").write_text(str(pid))

    def write(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        until = time.monotonic() + 10
        while self.folder.exists() and time.monotonic() < until:
            for pid in (self.folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (self._parent / "cgroup.procs").write_text(pid)
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            time.sleep(0.02)


class CpuQuota(ControlGroup):
    controller = "cpu"

    def limit(self, cores: float) -> None:
        period_us = 100_000
        if self.version == 2:
            self.write("cpu.max", f"{round(cores * period_us)} {period_us}")
        else:
            self.write("cpu.cfs_period_us", str(period_us))
            self.write("cpu.cfs_quota_us", str(round(cores * period_us)))


class Memory(ControlGroup):
    controller = "memory"

    def limit(self, size: int) -> None:
        self.write("memory.max" if self.version == 2 else "memory.limit_in_bytes", str(size))


class Freezer(ControlGroup):
    controller = "freezer"

    def __enter__(self) -> Self:
        if self.version == 1:
            return super().__enter__()
        try:
            self.folder.mkdir()  # every group of version 2 can be frozen, without a controller
        except OSError as error:
            raise AssertionError(f"{NEEDED}: {error}") from error
        return self

    def freeze(self) -> None:
        self.write("cgroup.freeze", "1") if self.version == 2 else self.write("freezer.state", "FROZEN")

    def thaw(self) -> None:
        self.write("cgroup.freeze", "0") if self.version == 2 else self.write("freezer.state", "THAWED")
