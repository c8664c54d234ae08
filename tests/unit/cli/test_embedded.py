from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.embedded import Plan, Stack, running_stack
from cli.errors import PartFailed
from cli.ports import require_free
from shared.clock import SystemClock
from shared.errors import InvalidInput
from tests.servers import free_port, speaks_ipv6

ONCE: Retry = Retry(NoBackoff(), 0)


LOOPBACKS = ["127.0.0.1", "localhost", *(["::1"] if speaks_ipv6() else [])]


def test_a_taken_port_is_refused_with_the_option_that_helps() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PartFailed, match=rf"port {port} on 127\.0\.0\.1 cannot be used.*--port"):
            require_free("127.0.0.1", port)
    require_free("127.0.0.1", free_port())


def test_an_address_that_is_not_this_machines_is_refused() -> None:
    with pytest.raises(PartFailed, match=r"192\.0\.2\.1"):
        require_free("192.0.2.1", 0)


def test_a_data_directory_has_one_user_at_a_time(tmp_path: Path) -> None:
    plan = Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs")
    with running_stack(plan), pytest.raises(PartFailed, match="in use by another"), running_stack(plan):
        pass
    with running_stack(plan):
        pass


def test_redis_starts_keeps_what_it_is_told_and_stops(tmp_path: Path) -> None:
    plan = Plan(data_dir=tmp_path / "a folder with spaces", outputs_dir=tmp_path / "outputs")
    with running_stack(plan) as stack:
        stack.start_redis()
        with redis.Redis.from_url(stack.redis_url) as client:
            client.set("kept", "yes")
    with running_stack(plan) as stack:
        stack.start_redis()
        with redis.Redis.from_url(stack.redis_url, decode_responses=True) as client:
            assert client.get("kept") == "yes"
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(stack.redis_url, retry=ONCE) as client:
        client.ping()


@pytest.mark.parametrize("bind", LOOPBACKS)
def test_redis_on_any_loopback_address_needs_no_password(tmp_path: Path, bind: str) -> None:
    plan = Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs", bind=bind)
    with running_stack(plan) as stack:
        stack.start_redis()
        with redis.Redis.from_url(stack.redis_url) as client:
            assert client.ping()
    assert f"{f'[{bind}]' if ':' in bind else bind}:" in stack.redis_url
    assert "@" not in stack.redis_url


@pytest.mark.parametrize("bind", ["0.0.0.0", *LOOPBACKS])
def test_redis_asks_for_a_password_where_the_api_asks_for_a_token(tmp_path: Path, bind: str) -> None:
    plan = Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs", bind=bind, token="t")
    with running_stack(plan) as stack:
        stack.start_redis()
        with redis.Redis.from_url(stack.redis_url) as client:
            assert client.ping()
        port = stack.redis_url.rpartition(":")[2].partition("/")[0]
        with (
            redis.Redis("localhost" if bind == "0.0.0.0" else bind, int(port), retry=ONCE) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        assert (stack.data_dir / "redis" / "redis.conf").stat().st_mode & 0o077 == 0


def test_a_configured_redis_is_used_and_not_started(tmp_path: Path) -> None:
    plan = Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs", redis_url="redis://lab:6379/0")
    with running_stack(plan) as stack:
        stack.start_redis()
        assert stack.parts == []
        assert stack.redis_url == "redis://lab:6379/0"


@pytest.mark.parametrize(("bind", "allowed"), [("127.0.0.1", "true"), ("localhost", "true"), ("0.0.0.0", None), ("192.0.2.1", None)])
def test_the_worker_fetches_from_this_machine_where_only_this_machine_may_submit(
    tmp_path: Path, bind: str, allowed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLEETMARK_WORKER_ALLOW_PRIVATE_URLS", raising=False)
    plan = Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs", bind=bind, token="t")
    assert Stack(plan, SystemClock())._environment().get("FLEETMARK_WORKER_ALLOW_PRIVATE_URLS") == allowed
    monkeypatch.setenv("FLEETMARK_WORKER_ALLOW_PRIVATE_URLS", "false")
    assert Stack(plan, SystemClock())._environment()["FLEETMARK_WORKER_ALLOW_PRIVATE_URLS"] == "false"


def test_other_commands_find_the_broker_while_the_stack_runs(tmp_path: Path) -> None:
    plan = Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs", redis_url="redis://:secret@lab:6379/0")
    assert Stack.announced_redis_url(plan.data_dir) is None
    with running_stack(plan) as stack:
        stack.start_redis()
        stack.announce()
        assert Stack.announced_redis_url(plan.data_dir) == "redis://:secret@lab:6379/0"
        assert (plan.data_dir / "running.json").stat().st_mode & 0o077 == 0
    assert Stack.announced_redis_url(plan.data_dir) is None


def test_the_broker_of_a_killed_stack_is_not_used(tmp_path: Path) -> None:
    plan = Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs", redis_url="redis://lab:6379/0")
    with running_stack(plan) as stack:
        stack.start_redis()
        stack.announce()
        left_behind = (plan.data_dir / "running.json").read_text()
    (plan.data_dir / "running.json").write_text(left_behind)  # a process that is killed does not remove the file
    assert Stack.announced_redis_url(plan.data_dir) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'"text"', b"null", b"\xff\xfe", b'{"redis_url": null}', b"[" * 100_000])
def test_an_announcement_without_a_broker_announces_none(tmp_path: Path, content: bytes) -> None:
    with running_stack(Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs")) as stack:
        (stack.data_dir / "running.json").write_bytes(content)
        assert Stack.announced_redis_url(stack.data_dir) is None


def test_an_announcement_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "running.json").mkdir()  # root may run this test and can read a file of any mode, so a folder is in the place of the file
    with pytest.raises(InvalidInput, match=r"running\.json cannot be read: .*name the broker with FLEETMARK_REDIS_URL"):
        Stack.announced_redis_url(tmp_path)


def test_with_a_token_no_other_user_can_read_what_is_kept(tmp_path: Path) -> None:
    """This includes what an earlier start without a token has left in a data directory that everyone can enter."""
    open_plan = Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs")
    open_plan.data_dir.mkdir(mode=0o755)
    (open_plan.data_dir / "fleetmark.db").touch(mode=0o644)
    (open_plan.data_dir / "models").mkdir(mode=0o755)
    umask = os.umask(0o022)
    try:
        for plan in (open_plan, replace(open_plan, token="t")):
            with running_stack(plan) as stack:
                stack.start_redis()
                stack.announce()
                with redis.Redis.from_url(stack.redis_url) as client:
                    client.set("kept", "yes")
                kept = [path for path in stack.data_dir.rglob("*") if path.name != "lock"]
                within_reach = [path for path in kept if stack.data_dir in path.parents and _others_reach(path, stack.data_dir)]
    finally:
        os.umask(umask)
    assert {"fleetmark.db", "redis.conf", "running.json", "redis.log", "appendonlydir"} <= {path.name for path in kept}
    assert within_reach == []


def test_a_data_directory_that_is_made_is_its_users_alone(tmp_path: Path) -> None:
    with running_stack(Plan(data_dir=tmp_path / "data", outputs_dir=tmp_path / "outputs")) as stack:
        assert stack.data_dir.stat().st_mode & 0o777 == 0o700


def _others_reach(path: Path, root: Path) -> bool:
    """Return True if the mode bits of the path, and of every folder from `root` down to it, let other users read it."""
    folders = [folder for folder in path.parents if root in folder.parents]
    return bool(path.stat().st_mode & 0o044) and all(folder.stat().st_mode & 0o011 for folder in folders)
