"""Tests the file with which launchd starts a worker on a Mac. launchd itself has not read it."""

from __future__ import annotations

import plistlib
from pathlib import Path

from worker.agent.serving import ACKNOWLEDGE_WITHIN_S, HAND_BACK_WITHIN_S, LOOP_ENDS_WITHIN_S
from worker.cli import app
from worker.settings import WorkerSettings

CONTENT = plistlib.loads((Path(__file__).parents[3] / "deploy" / "launchd" / "fleetmark.worker.plist").read_bytes())


def test_it_starts_a_worker_with_settings_that_exist() -> None:
    assert CONTENT["ProgramArguments"][1:4] == ["-P", "-m", "worker.cli"]
    commands = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
    assert CONTENT["ProgramArguments"][4] in commands
    assert set(CONTENT["EnvironmentVariables"]) <= {f"FLEETMARK_{name.upper()}" for name in WorkerSettings.model_fields}


def test_it_waits_longer_than_an_orderly_end_may_take() -> None:
    assert CONTENT["ExitTimeOut"] > HAND_BACK_WITHIN_S + ACKNOWLEDGE_WITHIN_S + LOOP_ENDS_WITHIN_S
