from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.commands import start
from cli.settings import CliSettings


@pytest.mark.parametrize(("port", "hint"), [(5000, False), (5077, True)])
def test_who_is_up_on_another_port_says_how_the_other_commands_find_it(capsys: pytest.CaptureFixture[str], port: int, hint: bool) -> None:
    plan = SimpleNamespace(bind="127.0.0.1", tls=False)
    stack: Any = SimpleNamespace(
        host=f"http://127.0.0.1:{port}", port=port, plan=plan, data_dir=Path("data"), redis_url="redis://127.0.0.1:1"
    )
    start._tell(stack, CliSettings())
    assert (f"export FLEETMARK_HOST=http://127.0.0.1:{port} " in capsys.readouterr().out) is hint
