from __future__ import annotations

import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from pydantic import BaseModel

from orchestrator.cli import app as orchestrator_app
from orchestrator.settings import Settings
from worker.agent.agent import EXIT_REFUSED
from worker.agent.serving import ACKNOWLEDGE_WITHIN_S, HAND_BACK_WITHIN_S, LOOP_ENDS_WITHIN_S
from worker.settings import WorkerSettings

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNIT, ORCHESTRATOR = FOLDER / "fleetmark-worker.service", FOLDER / "fleetmark-orchestrator.service"
UNITS = pytest.mark.parametrize("unit", [UNIT, ORCHESTRATOR], ids=lambda unit: unit.stem)


def _settings(unit: Path = UNIT) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in unit.read_text().splitlines():
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
        "WorkingDirectory",
    },
    "Install": {"WantedBy"},
}


@UNITS
def test_the_unit_holds_only_what_systemd_knows(unit: Path) -> None:
    """Systemd ignores a directive that it does not know, and only logs a warning. This test does not need systemd."""
    section, found = "", 0
    for number, line in enumerate(unit.read_text().splitlines(), start=1):
        if line.startswith("["):
            section = line.strip("[]")
            assert section in KNOWN, f"line {number}: {line}"
        elif line and not line.startswith("#"):
            name, equals, _ = line.partition("=")
            assert equals, f"line {number}: {line}"
            assert name in KNOWN[section], f"line {number}: {line}"
            found += 1
    assert found > 20


@UNITS
@pytest.mark.systemd
def test_systemd_accepts_the_unit(tmp_path: Path, unit: Path) -> None:
    """Python stands for the program that the unit starts, because that program must exist. The rest of the unit is as it ships."""
    assert shutil.which("systemd-analyze"), "install systemd, or choose to leave this test out with -m 'not long and not systemd'"
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/fleetmark/bin/python", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
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


@pytest.mark.parametrize(
    ("unit", "example", "settings"),
    [(UNIT, "worker", WorkerSettings), (ORCHESTRATOR, "orchestrator", Settings)],
    ids=["worker", "orchestrator"],
)
def test_every_variable_it_sets_is_a_setting(unit: Path, example: str, settings: type[BaseModel]) -> None:
    names = {f"FLEETMARK_{name.upper()}" for name in settings.model_fields}
    lines = [line.removeprefix("# ") for line in (FOLDER / f"{example}.env.example").read_text().splitlines()]
    set_here = {line.partition("=")[0] for line in [*_settings(unit)["Environment"], *lines] if line.startswith("FLEETMARK_")}
    assert len(set_here) > 4
    assert set_here <= names


def test_the_orchestrators_unit_types_a_command_that_exists() -> None:
    [typed] = _settings(ORCHESTRATOR)["ExecStart"]
    assert typed.split()[-1] == "serve"
    commands = [command.name or getattr(command.callback, "__name__", "") for command in orchestrator_app.registered_commands]
    assert "serve" in commands


def test_the_unit_may_write_where_the_hosts_lock_lies() -> None:
    writable = " ".join(_settings()["ReadWritePaths"]).split()
    assert {folder.removeprefix("-") for folder in writable} >= {"/run/lock", "/tmp"}
    assert "PrivateTmp" not in _settings()
