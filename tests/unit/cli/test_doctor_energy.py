from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.commands.doctor import _energy
from tests import sampled
from worker.samplers.base import Lack, Place


def test_the_doctor_says_what_shows_energy(tmp_path: Path) -> None:
    sampled.powercap(tmp_path)
    finding = _energy(Place(tmp_path))
    assert (finding.verdict, finding.found, finding.mend) == ("ok", "is shown by rapl", "")


def test_the_doctor_says_the_command_that_allows_rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled.powercap(tmp_path)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr("worker.samplers.rapl.KeptFile", refuse)
    finding = _energy(Place(tmp_path))
    assert finding.verdict == "note"
    assert "only root may read the energy counter" in finding.found
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in finding.mend


def test_a_device_that_shows_no_energy_is_no_problem(tmp_path: Path) -> None:
    finding = _energy(Place(tmp_path))
    assert (finding.verdict, finding.mend) == ("note", "")
    assert finding.found.startswith("is not measured here: ")


def test_a_lack_reads_as_one_sentence() -> None:
    assert str(Lack("there is none", "buy one")) == "there is none; buy one"
