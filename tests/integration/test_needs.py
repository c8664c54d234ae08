"""Tests that a process of the control plane starts when something is missing, and says at its start what is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.api.connections import require_listenable
from orchestrator.needs import log_what_is_missing
from orchestrator.operations.context import Context
from orchestrator.registry import Registry
from orchestrator.store import Store
from tests.servers import free_port


def test_nothing_is_logged_if_nothing_is_missing(ctx: Context, caplog: pytest.LogCaptureFixture) -> None:
    assert log_what_is_missing(ctx, files=True) == 0
    assert caplog.text == ""


def test_each_thing_that_is_missing_is_said(ctx: Context, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    ctx.settings.outputs_dir.touch()  # this file is in the place of the folder
    url = f"redis://127.0.0.1:{port}/0"
    away = replace(
        ctx,
        settings=ctx.settings.model_copy(update={"redis_url": url}),
        store=Store(f"postgresql+psycopg://me:secret@127.0.0.1:{port}/fleet"),
        registry=Registry(url, 30),
    )
    assert log_what_is_missing(away, files=True) == 3
    for part in ("Redis does not answer", "the database does not answer", "FLEETMARK_OUTPUTS_DIR"):
        assert part in caplog.text
    assert "secret" not in caplog.text
    assert log_what_is_missing(away, files=False) == 2, "the watch writes no files"


def test_a_port_is_looked_at_before_anything_else_is_done() -> None:
    import socket

    require_listenable("127.0.0.1", free_port())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            require_listenable("127.0.0.1", taken.getsockname()[1])
