"""Tests that a plug-in that is broken is a sentence, and ends nothing else."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from threading import Event

import pytest

from worker import plug_ins
from worker.agent.capabilities import offers
from worker.engines.registry import ENGINES, EngineEntry
from worker.hardware import detect
from worker.hardware_tests import registry as hardware_tests
from worker.plug_ins import BrokenPlugIn
from worker.services.base import Service
from worker.services.registry import SERVICES, startable

SOURCE = """
import sys

from worker.services import fake

def fails(capability, hardware):
    raise LookupError("no such chip")

def leaves(capability, hardware):
    sys.exit("good bye")

def prints(capability, hardware):
    print("looking for the chip")
    return ""

def nothing(capability, hardware):
    pass

class Incomplete:
    needs_other_user = False

    def version(self):
        return "1"

class Service(fake.FakeService):
    def version(self):
        raise LookupError("no such program")
"""
FAILS = "broken_plug_in:fails failed: LookupError: no such chip"


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_plug_in.py").write_text(SOURCE)
    (tmp_path / "broken_module.py").write_text("raise OSError('no such library')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plug_ins, "_silent", {})


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("broken_plug_in:fails", FAILS),
        ("broken_plug_in:leaves", "broken_plug_in:leaves failed: SystemExit: good bye"),
        ("broken_plug_in:nothing", "broken_plug_in:nothing returned None; it must return a text: why not, or an empty one"),
        ("broken_module:fails", "broken_module:fails cannot be imported: OSError: no such library"),
        ("broken_plug_in:absent", "broken_plug_in:absent cannot be imported: AttributeError: module 'broken_plug_in' has no attribute"),
        ("broken_plug_in:prints", ""),
    ],
)
def test_a_function_that_finds_out_nothing_is_the_reason(target: str, why: str) -> None:
    said = plug_ins.why_not(target, "cpu.toy", None)
    assert said.startswith(why)
    assert bool(said) == bool(why)


def test_what_such_a_function_prints_is_not_in_the_output_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert plug_ins.why_not("broken_plug_in:prints", "cpu.toy", None) == ""
    assert capsys.readouterr() == ("", "looking for the chip\n")


def test_a_function_that_never_answers_is_waited_for_once_whatever_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    end, asked = Event(), []

    def hangs(capability: str, _hardware: object) -> str:
        asked.append(capability)
        end.wait(30)
        return ""

    monkeypatch.setattr(sys.modules[__name__], "hangs", hangs, raising=False)
    monkeypatch.setattr(plug_ins, "PATIENCE_S", 0.01)
    monkeypatch.setattr(plug_ins, "LONGEST_S", 0.02)
    with caplog.at_level(logging.WARNING):
        told = [plug_ins.why_not(f"{__name__}:hangs", capability, None) for capability in ("cpu.toy", "cpu.toy", "gpu.toy")]
    end.set()
    assert told == [f"{__name__}:hangs did not answer within 0.02 s"] * 3
    assert asked == ["cpu.toy"]
    assert f"{__name__}:hangs has not said for 0.01 s whether cpu.toy is there" in caplog.text
    assert "the worker starts only when it has answered, or after 0.02 s" in caplog.text


def test_an_engine_whose_presence_fails_takes_no_other_capability_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "cpu.torch", EngineEntry("broken_plug_in:Engine", present="broken_plug_in:fails"))
    monkeypatch.setitem(ENGINES, "gpu.mps.torch", EngineEntry("broken_plug_in:Engine"))
    monkeypatch.setitem(
        hardware_tests.TESTS["hardware.cpu"], "broken", hardware_tests.TestEntry("broken_plug_in:Test", present="broken_plug_in:leaves")
    )
    found = {offer.capability: offer for offer in offers(detect())}
    assert found["cpu.torch"].why == FAILS
    assert found["gpu.mps.torch"].why.startswith("its EngineEntry names no function `present`")
    assert found["cpu.onnx"].offered
    assert found["hardware.cpu"].offered, "the other tests of the device can run"


def test_a_service_whose_version_fails_keeps_no_worker_from_starting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(SERVICES, "echo", "broken_plug_in:Service")
    monkeypatch.setitem(SERVICES, "half", "broken_plug_in:Incomplete")
    startable.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert "redis" in startable()
    startable.cache_clear()
    assert "not offered for services of the type echo: LookupError: no such program" in caplog.text
    assert "not offered for services of the type half: broken_plug_in:Incomplete has no method check" in caplog.text


def test_a_class_that_lacks_a_method_of_its_port_is_said_before_it_is_used() -> None:
    """An error in the middle of a measurement would be tried again on other devices, where it is the same."""
    lacking = r"broken_plug_in:Incomplete has no method check, data_parent, prepare, command, container, address, health, metrics"
    with pytest.raises(BrokenPlugIn, match=lacking):
        plug_ins.implementing(Service, "broken_plug_in:Incomplete")


def test_what_cannot_be_imported_is_said_with_its_name() -> None:
    with pytest.raises(BrokenPlugIn, match=r"broken_module:Engine cannot be imported: OSError: no such library"):
        plug_ins.named("broken_module:Engine")
