"""Finds problems of a Redis server that answers: it may evict keys, is full, is a read-only replica, a Sentinel, or part of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from shared.brokers import OF_A_SENTINEL


@dataclass(frozen=True)
class Trouble:
    """Describes one problem of a Redis server.

    Attributes:
        words: what is wrong, written as the end of a sentence that begins with "Redis".
        mend: what to do.
        stops: True if Fleetmark cannot use the server at all.
    """

    words: str
    mend: str
    stops: bool


def troubles(client: redis.Redis) -> list[Trouble]:
    """Return the problems of the server. The list is also empty if the login may not run `INFO`.

    Raises:
        redis.RedisError: the server does not answer.
    """
    try:
        told: dict[str, Any] = client.info()
    except redis.exceptions.NoPermissionError:
        return []
    return troubles_of(told)


def troubles_of(told: Mapping[str, Any]) -> list[Trouble]:
    """Return the problems that the server's answer to `INFO` shows."""
    mode = told.get("redis_mode", told.get("server_mode", "standalone"))
    if mode == "sentinel":
        return [Trouble("is a Sentinel", OF_A_SENTINEL, stops=True)]
    if mode == "cluster":
        words = "is a node of a cluster, which keeps only a part of the keys"
        return [Trouble(words, "give a Redis without cluster-enabled; Fleetmark needs all of its keys in one place", stops=True)]
    found = []
    if told.get("role", "master") != "master":
        master = f"{told.get('master_host', 'its master')}:{told.get('master_port', 6379)}"
        found.append(Trouble("is a replica and takes no writes", f"give the address of its master, which is {master}", stops=True))
    limit, used, policy = int(told.get("maxmemory", 0)), int(told.get("used_memory", 0)), told.get("maxmemory_policy", "noeviction")
    if limit and policy != "noeviction":
        evicted = int(told.get("evicted_keys", 0))
        so_far = f", and has done so {evicted} times" if evicted else ""
        found.append(
            Trouble(
                f"may throw away jobs and results when its memory is full (maxmemory-policy is {policy}{so_far})",
                "set maxmemory-policy to noeviction in redis.conf, and at once: redis-cli CONFIG SET maxmemory-policy noeviction",
                stops=False,
            )
        )
    elif limit and used >= limit:
        size = f"{used / 2**20:.1f} MB of a maxmemory of {limit / 2**20:.1f} MB are used"
        found.append(
            Trouble(f"is full and takes no writes: {size}", "raise maxmemory in redis.conf, or remove other data from it", stops=True)
        )
    return found
