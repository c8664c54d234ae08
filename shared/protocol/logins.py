"""Logins at the broker: which Redis commands a worker, the orchestrator and Flower may run, and on which keys.

Each rule in parentheses is a selector (Redis 7.0 or newer, Valkey): commands, and the keys that these commands may touch. So a
worker can push to `results` without reading it, and take jobs without making any. A Lua script runs with the rights of its
caller, whatever keys it names, so its commands are here as well. https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from shared.capabilities import LABELS, RESULTS_QUEUE, worker_queue
from shared.protocol import keys

ORCHESTRATOR, FLOWER = "fleetmark-orchestrator", "fleetmark-flower"

_TOGETHER = ("+multi", "+exec", "+discard", "+unwatch", "+evalsha", "+script|load", "+script|exists", "+time")
_BINDINGS = "_kombu.binding"  # kombu's tables: which list an exchange leads to
_REPLIES = "reply.celery.pidbox"


def worker_user(worker_id: str) -> str:
    """The name of a worker's login."""
    return f"fleetmark-{worker_id}"


def password_rule(password: str) -> str:
    """The rule that sets a password, by its hash: neither a file nor Redis' log of commands then holds it."""
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"


def worker_rules(worker_id: str, capabilities: Iterable[str], database: int) -> list[str]:
    """What one worker may do: take jobs of its capabilities, report, beat, and answer questions.

    Args:
        database: number of the Redis database, which is part of the names of channels.
    """
    mine, mailbox = keys.worker(worker_id), f"*@{worker_id}.celery.pidbox"
    return [
        *_connection(database),
        *_TOGETHER,
        _selector("brpop llen", _lists(worker_queue(worker_id), *capabilities)),
        _selector("hset hdel hlen zadd zrem del", _booked(worker_id)),
        _selector("lpush", [RESULTS_QUEUE], "%W"),
        _selector("llen", _lists(RESULTS_QUEUE), "%R"),
        _selector("hget hset hincrby exists", [mine]),
        _selector("hgetall hdel", [keys.answers(worker_id)]),
        # Of others it learns whether they are known, when they were heard of, and whether a job has ended.
        _selector("hexists", [keys.WORKERS], "%R"),
        _selector("hmget", [keys.worker("*")], "%R"),
        _selector("exists", [keys.ended("*")], "%R"),
        _selector("hmget hset expire del", [keys.claim("*")]),
        _selector("lpush ltrim", [keys.DEAD_LETTERS], "%W"),
        # Celery: events out; questions in, answers out.
        f"(+publish &/{database}.celeryev/*)",
        f"(+psubscribe +punsubscribe &/{database}.celery.pidbox)",
        _selector("sadd srem", [f"{_BINDINGS}.celery.pidbox", f"{_BINDINGS}_permanent.celery.pidbox"], "%W"),
        _selector("llen del", _lists(mailbox)),
        _selector("smembers", [f"{_BINDINGS}.{_REPLIES}"], "%R"),
        _selector("lpush", [f"*.{_REPLIES}"], "%W"),
    ]


def orchestrator_rules(database: int) -> list[str]:
    """What API, consumer and watch may do: everything on Fleetmark's own keys, and give workers their logins.

    Who can make logins can make any: this one keeps to its keys by mistake-proofing, not by force.
    """
    return [
        *("+@read", "+@write", *_connection(database), *_TOGETHER, "+info", "+acl|setuser", "+acl|deluser"),
        *_keys([f"{keys.PREFIX}*", *_booked("*"), *_lists(RESULTS_QUEUE, worker_queue("*"), *LABELS)]),
    ]


def flower_rules(database: int) -> list[str]:
    """What Flower may do: hear events, count what waits, ask workers and read their answers."""
    tables = [f"{_BINDINGS}.*", f"{_BINDINGS}_permanent.*", f"{_BINDINGS}_deadlines"]
    own = [*_lists("celeryev.*", f"*.{_REPLIES}"), "unacked", "unacked_index", "unacked_mutex"]
    return [
        *_connection(database),
        *_TOGETHER,
        _selector("llen", _lists("fleetmark.default", RESULTS_QUEUE, worker_queue("*"), *LABELS), "%R"),
        f"(+psubscribe +punsubscribe &/{database}.celeryev/*)",
        f"(+publish &/{database}.celery.pidbox)",
        _selector("sadd srem smembers zadd zrem zrangebyscore exists del evalsha", tables),
        _selector("brpop llen del pexpire hget hset hdel zadd zrem zrange set get watch evalsha", own),
    ]


def setuser(user: str, password: str, rules: Sequence[str]) -> list[str]:
    """The arguments of `ACL SETUSER`, and after the word `user` a line of an ACL file: whatever the user was before is forgotten.

    Args:
        password: a rule that sets one, as of `password_rule`.
    """
    return [user, "reset", "on", password, *rules]


def _connection(database: int) -> list[str]:
    """What every client does with its connection, and to its own database.

    Out of the category stay its dangerous half (other clients' connections) and what makes Redis push the name of every key that changes.
    Listing what is left instead would shut out older servers: they refuse a rule about a command that they do not know.
    """
    return ["+@connection", "-@dangerous", "-client|tracking", "-client|caching", "-select", f"+select|{database}"]


def _selector(commands: str, names: Iterable[str], access: str = "") -> str:
    return f"({' '.join([*(f'+{command}' for command in commands.split()), *_keys(names, access)])})"


def _keys(names: Iterable[str], access: str = "") -> list[str]:
    return [f"{access}~{name}" for name in names]


def _booked(worker_id: str) -> list[str]:
    """Where a worker books the message it has taken until it acknowledges it."""
    return keys.unacked(worker_id)


def _lists(*queues: str) -> list[str]:
    """The lists of queues: kombu keeps one a step of priority, named with two control characters and a digit."""
    return [name for queue in queues for name in (queue, f"{queue}??[0-9]")]
