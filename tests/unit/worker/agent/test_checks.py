from __future__ import annotations

from pathlib import Path

from tests.servers import free_port
from worker.agent.capabilities import offered
from worker.agent.checks import _engines, _info_port
from worker.engines.registry import write_trial_model
from worker.hardware import detect
from worker.settings import load_settings


def test_the_address_of_the_info_server_is_checked_as_the_server_will_use_it(tmp_path: Path) -> None:
    port = free_port()
    local = _info_port(load_settings(worker_host="::1", worker_port=port))
    assert (local.ok, local.found) == (True, f"[::1]:{port}")
    anywhere = _info_port(load_settings(worker_host="::", worker_port=port))
    assert not anywhere.ok
    assert "FLEETMARK_TOKEN" in anywhere.mend
    assert _info_port(load_settings(worker_host="::", worker_port=port, token="t0ken")).ok


def test_every_capability_that_this_device_offers_passes_also_those_without_an_engine(tmp_path: Path) -> None:
    here = detect()
    assert {"cpu.onnx", "hardware.cpu"} <= set(offered(here))
    found = _engines(here)
    assert (found.ok, found.found) == (True, ", ".join(offered(here)))
    assert write_trial_model("hardware.cpu", tmp_path) is None
    assert write_trial_model("cpu.onnx", tmp_path) == tmp_path / "tiny.onnx"
