from __future__ import annotations

import pytest
import redis

from shared.addresses import with_login
from shared.brokers import database_of, host_and_port, require_broker, shown_place


@pytest.mark.parametrize(
    ("url", "place", "database"),
    [
        ("redis://lab", "lab:6379", 0),
        ("redis://lab/", "lab:6379", 0),
        ("redis://me:secret@lab:7000/3", "lab:7000", 3),
        ("rediss://lab:6380/1?ssl_check_hostname=false", "lab:6380", 1),
        ("redis://[::1]:6379/0", "[::1]:6379", 0),
        ("unix:///run/redis.sock", "/run/redis.sock", 0),
        ("unix:///run/a%3Fb.sock?db=4", "/run/a?b.sock", 4),
        ("unix://me:p%2Fw@/run/redis.sock?db=4", "/run/redis.sock", 4),
    ],
)
def test_what_a_broker_s_address_names(url: str, place: str, database: int) -> None:
    require_broker(url)
    assert shown_place(url) == place
    assert database_of(url) == database
    told = redis.Redis.from_url(url).get_connection_kwargs()
    assert told.get("db", 0) == database
    assert host_and_port(url) == ((told["path"], 0) if "path" in told else (told["host"], told.get("port", 6379)))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sentinel://lab:26379/0", "give the address of the Redis itself"),
        ("redis+sentinel://lab:26379/mymaster", "give the address of the Redis itself"),
        ("sentinel://:hunter2@a:26379;sentinel://:hunter2@b:26379", "give the address of the Redis itself"),
        ("lab:6379", "is written redis://host:6379/0"),
        ("redis+socket:///run/redis.sock", "unix:///run/redis.sock"),
        ("redis:///0", "names no host"),
        ("redis://lab:6379/mymaster", "number of its database"),
        ("redis://lab:6379/0/1", "number of its database"),
        ("redis://lab:6379/0?db=3", "stands after the host"),
        ("unix://", "path of the socket"),
        ("unix:///run/redis.sock?db=x", "number of its database"),
        ("redis://:hun/ter2@lab:6379/0", "cannot be read"),
    ],
)
def test_what_cannot_be_a_broker_is_refused_with_what_to_write(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        require_broker(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "without", "with_one"),
    [
        ("redis://a:b@lab:1/0", "redis://lab:1/0", "redis://u:p@lab:1/0"),
        ("unix:///run/r.sock?db=1", "unix:///run/r.sock?db=1", "unix://u:p@/run/r.sock?db=1"),
        ("unix://a:b@/run/r.sock", "unix:///run/r.sock", "unix://u:p@/run/r.sock"),
    ],
)
def test_a_login_is_put_in_and_taken_out(url: str, without: str, with_one: str) -> None:
    assert with_login(url, "") == without
    assert with_login(url, "u:p") == with_one
