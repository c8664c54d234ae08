"""Tests that the locked system refuses access without a login, and that a leaked secret is found."""

from __future__ import annotations

from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from tests.chaos.system import system_in


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_locked_system_lets_nobody_in_without_a_token_and_sees_what_leaks(tmp_path: Path) -> None:
    with system_in(tmp_path, locked=True) as system:
        system.start("api", "worker-1")
        assert httpx.get(f"{system.address}/api/health/workers", verify=False).status_code == httpx.codes.UNAUTHORIZED
        with pytest.raises(redis.AuthenticationError), redis.Redis.from_url(system.redis_server.url) as anybody:
            anybody.ping()
        users = {str(user).split()[1] for user in system.redis.acl_list()}
        assert len([user for user in users if user.startswith("fleetmark-worker-")]) == 1
        assert system.leaks() == []
        token = (tmp_path / "worker-2" / "token").read_text()
        assert token.startswith("fleetmark_")
        with psycopg.connect(system.database_url.replace("+psycopg", "")) as connection:
            [(key,)] = connection.execute("SELECT secret FROM worker_keys").fetchall()
        noted = tmp_path / "logs" / "noted.log"
        for secret in (f"GET / {token} 200", f"signed with {key}", "redis://fleetmark-worker-a:3hd_-7@127.0.0.1:6379/0"):
            noted.write_text(secret)
            assert system.leaks() == [f"{noted} holds a secret"]
        noted.write_text("redis://fleetmark-worker-a:***@127.0.0.1:6379/0, http://127.0.0.1:5000/?at=1@2")
        assert system.leaks() == []
