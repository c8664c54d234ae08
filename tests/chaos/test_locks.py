"""The locked system is locked, and a secret that gets into a file is seen."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import redis

from tests.chaos.system import system_in


@pytest.mark.timeout(300)
def test_a_locked_system_lets_nobody_in_without_a_token_and_sees_what_leaks(tmp_path: Path) -> None:
    with system_in(tmp_path, locked=True) as system:
        system.start("api", "worker-1")
        assert httpx.get(f"{system.address}/api/health/workers").status_code == httpx.codes.UNAUTHORIZED
        with pytest.raises(redis.AuthenticationError), redis.Redis.from_url(system.redis_server.url) as anybody:
            anybody.ping()
        users = {str(user).split()[1] for user in system.redis.acl_list()}
        assert len([user for user in users if user.startswith("fleetmark-worker-")]) == 1
        assert system.leaks() == []
        token = (tmp_path / "worker-2" / "token").read_text()
        assert token.startswith("fleetmark_")
        noted = tmp_path / "logs" / "noted.log"
        noted.write_text(f"GET / {token} 200")
        assert system.leaks() == [f"{noted} holds a secret"]
