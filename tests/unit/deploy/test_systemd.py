from __future__ import annotations

import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from worker.agent.agent import EXIT_REFUSED
from worker.agent.serving import ACKNOWLEDGE_WITHIN_S, HAND_BACK_WITHIN_S, LOOP_ENDS_WITHIN_S
from worker.settings import WorkerSettings

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNIT = FOLDER / "fleetmark-worker.service"


def _settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


# These are the directives of systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.kill(5) that a service like ours may use.
KNOWN = {
    "Unit": {"Description", "Documentation", "Wants", "Requires", "After", "StartLimitIntervalSec", "StartLimitBurst"},
    "Service": {
        *("Type", "User", "Group", "EnvironmentFile", "Environment", "StateDirectory", "CacheDirectory", "RuntimeDirectory", "ExecStart"),
        *("KillSignal", "KillMode", "TimeoutStopSec", "Restart", "RestartSec", "RestartPreventExitStatus", "UMask", "ReadWritePaths"),
        *("NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "ProtectSystem", "ProtectHome", "ProtectControlGroups"),
        *("ProtectKernelModules", "ProtectKernelTunables", "ProtectKernelLogs", "ProtectClock", "ProtectHostname", "RestrictSUIDSGID"),
        *("RestrictNamespaces", "RestrictAddressFamilies", "LockPersonality", "SystemCallArchitectures", "PrivateTmp"),
    },
    "Install": {"WantedBy"},
}


def test_the_unit_holds_only_what_systemd_knows() -> None:
    """Systemd ignores a directive that it does not know, and only logs a warning. This test does not need systemd."""
    section, found = "", 0
    for number, line in enumerate(UNIT.read_text().splitlines(), start=1):
        if line.startswith("["):
            section = line.strip("[]")
            assert section in KNOWN, f"line {number}: {line}"
        elif line and not line.startswith("#"):
            name, equals, _ = line.partition("=")
            assert equals, f"line {number}: {line}"
            assert name in KNOWN[section], f"line {number}: {line}"
            found += 1
    assert found > 20


@pytest.mark.systemd
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Python stands for the program that the unit starts, because that program must exist. The rest of the unit is as it ships."""
    assert shutil.which("systemd-analyze"), "install systemd, or choose to leave this test out with -m 'not long and not systemd'"
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/fleetmark/bin/python", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert complaints == []


def test_the_unit_waits_longer_than_an_orderly_end_may_take() -> None:
    (timeout,) = _settings()["TimeoutStopSec"]
    assert int(timeout) > HAND_BACK_WITHIN_S + ACKNOWLEDGE_WITHIN_S + LOOP_ENDS_WITHIN_S


def test_the_unit_restarts_a_crash_and_not_a_refusal() -> None:
    settings = _settings()
    assert settings["Restart"] == ["always"]
    assert settings["RestartPreventExitStatus"] == [str(EXIT_REFUSED)]
    assert settings["KillSignal"] == ["SIGTERM"]
    assert settings["NoNewPrivileges"] == ["yes"]


def test_every_variable_it_sets_is_a_setting() -> None:
    names = {f"FLEETMARK_{name.upper()}" for name in WorkerSettings.model_fields}
    example = [line for line in (FOLDER / "worker.env.example").read_text().splitlines() if line and not line.startswith("#")]
    set_here = {line.partition("=")[0] for line in [*_settings()["Environment"], *example]}
    assert set_here <= names


def test_the_unit_may_write_where_the_hosts_lock_lies() -> None:
    writable = " ".join(_settings()["ReadWritePaths"]).split()
    assert {folder.removeprefix("-") for folder in writable} >= {"/run/lock", "/tmp"}
    assert "PrivateTmp" not in _settings()
