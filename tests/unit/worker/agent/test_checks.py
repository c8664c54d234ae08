from __future__ import annotations

from pathlib import Path

from tests.servers import free_port
from worker.agent.checks import _info_port
from worker.settings import load_settings


def test_the_address_of_the_info_server_is_checked_as_the_server_will_use_it(tmp_path: Path) -> None:
    port = free_port()
    local = _info_port(load_settings(worker_host="::1", worker_port=port))
    assert (local.ok, local.found) == (True, f"[::1]:{port}")
    anywhere = _info_port(load_settings(worker_host="::", worker_port=port))
    assert not anywhere.ok
    assert "FLEETMARK_TOKEN" in anywhere.mend
    assert _info_port(load_settings(worker_host="::", worker_port=port, token="t0ken")).ok
