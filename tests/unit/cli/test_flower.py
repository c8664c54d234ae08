from __future__ import annotations

import pytest

from cli.commands import flower
from cli.settings import CliSettings
from shared.errors import InvalidInput


def _settings(**values: str) -> CliSettings:
    return CliSettings(**values)  # type: ignore[arg-type]  # pydantic converts the texts


def test_flower_asks_for_a_login_where_the_system_has_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    assert flower._flower_login(_settings(), "redis://lab:6379/0") is None
    assert flower._flower_login(_settings(token="s3cret"), "redis://lab:6379/0") == "fleetmark:s3cret"
    assert "s3cret" not in "".join(capsys.readouterr())
    for settings, broker in ((_settings(), "redis://:pw@lab:6379/0"), (_settings(token="a,b"), "redis://lab:6379/0")):
        with pytest.raises(InvalidInput, match="FLOWER_BASIC_AUTH"):
            flower._flower_login(settings, broker)
    own = _settings(token="s3cret", flower_basic_auth="me:mine")
    assert flower._flower_login(own, "redis://:pw@lab:6379/0") is None, "the user's own login counts"
