"""Defines which Redis commands a worker, the orchestrator and Flower may run, and on which keys.

Each rule in parentheses is a selector (Redis 7.0 or newer, or Valkey). It names commands, and the keys that these commands may use. So a
worker can push to `results` but not read it, and can take jobs but not create any. A Lua script runs with the rights of its caller.
So the commands that a script runs must be allowed here too.
https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from shared.capabilities import LABELS, RESULTS_QUEUE, worker_queue
from shared.protocol import keys

ORCHESTRATOR, FLOWER = "fleetmark-orchestrator", "fleetmark-flower"

_TOGETHER = ("+multi", "+exec", "+discard", "+unwatch", "+evalsha", "+script|load", "+script|exists", "+time")
_BINDINGS = "_kombu.binding"  # prefix of kombu's tables, which map an exchange to its queues
_REPLIES = "reply.celery.pidbox"


def worker_user(worker_id: str) -> str:
    """Return the user name of a worker's Redis login."""
    return f"fleetmark-{worker_id}"


def password_rule(password: str) -> str:
    """Return the ACL rule that sets a password by its hash, so that no file and no log of Redis contains the password."""
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"


def worker_rules(worker_id: str, capabilities: Iterable[str], database: int) -> list[str]:
    """Return the ACL rules of one worker. It may take jobs of its capabilities, report, send heartbeats and answer Flower.

    Args:
        database: the number of the Redis database. It is part of the names of channels.
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
        # About other workers it may read whether they are registered and their state. About any job it may read whether it has ended.
        _selector("hexists", [keys.WORKERS], "%R"),
        _selector("hmget", [keys.worker("*")], "%R"),
        _selector("exists", [keys.ended("*")], "%R"),
        _selector("hmget hset expire del", [keys.claim("*")]),
        _selector("lpush ltrim", [keys.DEAD_LETTERS], "%W"),
        # Celery: publish events, receive remote-control questions and send the answers.
        f"(+publish &/{database}.celeryev/*)",
        f"(+psubscribe +punsubscribe &/{database}.celery.pidbox)",
        _selector("sadd srem", [f"{_BINDINGS}.celery.pidbox", f"{_BINDINGS}_permanent.celery.pidbox"], "%W"),
        _selector("llen del", _lists(mailbox)),
        _selector("smembers", [f"{_BINDINGS}.{_REPLIES}"], "%R"),
        _selector("lpush", [f"*.{_REPLIES}"], "%W"),
    ]


def orchestrator_rules(database: int) -> list[str]:
    """Return the ACL rules of API, consumer and watch. They may use all of Fleetmark's keys and create the logins of workers.

    Client tracking lets them read only those workers again that have changed (see `orchestrator.tracking`).

    The limit to Fleetmark's keys prevents mistakes, not attacks: a login that can create logins can create one with all rights.
    """
    return [
        *("+@read", "+@write", *_connection(database), "+client|tracking", *_TOGETHER, "+info", "+acl|setuser", "+acl|deluser"),
        *_keys([f"{keys.PREFIX}*", *_booked("*"), *_lists(RESULTS_QUEUE, worker_queue("*"), *LABELS)]),
    ]


def flower_rules(database: int) -> list[str]:
    """Return the ACL rules of Flower. It may receive events, count waiting messages, ask workers and read their answers."""
    tables = [f"{_BINDINGS}.*", f"{_BINDINGS}_permanent.*", f"{_BINDINGS}_deadlines"]
    own = [*_lists("celeryev.*", f"*.{_REPLIES}"), "unacked", "unacked_index", "unacked_mutex"]
    return [
        *_connection(database),
        *_TOGETHER,
        "+info",  # `fleetmark flower` looks before it starts whether this server is full, a replica or a Sentinel
        _selector("llen", _lists("fleetmark.default", RESULTS_QUEUE, worker_queue("*"), *LABELS), "%R"),
        f"(+psubscribe +punsubscribe &/{database}.celeryev/*)",
        f"(+publish &/{database}.celery.pidbox)",
        _selector("sadd srem smembers zadd zrem zrangebyscore exists del evalsha", tables),
        _selector("brpop llen del pexpire hget hset hdel zadd zrem zrange set get watch evalsha", own),
    ]


def setuser(user: str, password: str, rules: Sequence[str]) -> list[str]:
    """Return the arguments of `ACL SETUSER`. After the word `user` they are also a line of an ACL file.

    All earlier rules of the user are removed.

    Args:
        password: the rule that sets the password; see `password_rule`.
    """
    return [user, "reset", "on", password, *rules]


def _connection(database: int) -> list[str]:
    """Return the rules for commands that every client needs on its connection, limited to its own database.

    They allow the category `connection` without two parts: the dangerous commands, which affect other clients' connections, and client
    tracking, which can make Redis send the name of every changed key. The allowed commands are not listed one by one, because older servers
    reject a rule that names a command they do not know.
    """
    return ["+@connection", "-@dangerous", "-client|tracking", "-client|caching", "-select", f"+select|{database}"]


def _selector(commands: str, names: Iterable[str], access: str = "") -> str:
    return f"({' '.join([*(f'+{command}' for command in commands.split()), *_keys(names, access)])})"


def _keys(names: Iterable[str], access: str = "") -> list[str]:
    return [f"{access}~{name}" for name in names]


def _booked(worker_id: str) -> list[str]:
    """Return the keys in which kombu records the messages that a worker has taken and not acknowledged."""
    return keys.unacked(worker_id)


def _lists(*queues: str) -> list[str]:
    """Return key patterns for the Redis lists of queues.

    kombu keeps one list for each step of priority. The name of such a list ends with two control characters and a digit.
    """
    return [name for queue in queues for name in (queue, f"{queue}??[0-9]")]
