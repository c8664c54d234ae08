"""Takes messages from the results queue in batches.

kombu's own consumer needs two Redis transactions per message: one to take it and one to acknowledge it. Here one script moves a
whole batch to a list that belongs to this consumer. When the batch is recorded, one command deletes the list. Messages that a dead
consumer had taken go back to the queue automatically.
"""

from __future__ import annotations

import base64
import json
from contextlib import AbstractContextManager
from typing import NamedTuple, cast

import redis

from shared.capabilities import RESULTS_QUEUE
from shared.ids import new_incarnation
from shared.protocol import keys
from shared.protocol.outage import answering, once_more
from shared.protocol.signatures import HEADER

DEAD_AFTER_MS = 15_000  # recording is idempotent, so if a slow consumer is taken for dead, only some work is done twice

# KEYS: queue, consumers. ARGV: consumer, batch size, dead after ms, prefix of the lists. Returns the messages, oldest first.
# If this consumer already has messages, only these are returned: the earlier answer was lost, or they could not be recorded.
# The first write frees memory. Otherwise Redis would refuse the script at `maxmemory`, and taking messages is what makes room.
_TAKE = """
redis.call('ZREM', KEYS[2], ARGV[1])
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[2], now, ARGV[1])
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])) do
  while redis.call('LMOVE', ARGV[4] .. dead, KEYS[1], 'LEFT', 'RIGHT') do end
  redis.call('ZREM', KEYS[2], dead)
end
local mine, taken = ARGV[4] .. ARGV[1], {}
local kept = redis.call('LRANGE', mine, 0, -1)
if #kept > 0 then
  for i = #kept, 1, -1 do table.insert(taken, kept[i]) end
  return taken
end
for _ = 1, tonumber(ARGV[2]) do
  local message = redis.call('LMOVE', KEYS[1], mine, 'RIGHT', 'LEFT')
  if not message then break end
  table.insert(taken, message)
end
return taken
"""


class Taken(NamedTuple):
    """Holds a message: the bytes that its sender signed, and the signature, or `""` if there is none."""

    body: bytes
    mac: str

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class Inbox:
    """Takes batches from the results queue. Each consumer has its own inbox. It is not safe for several threads."""

    def __init__(self, broker_url: str) -> None:
        self._name = new_incarnation()
        self._redis: redis.Redis = redis.Redis.from_url(
            broker_url,
            socket_timeout=10,
            socket_connect_timeout=2,
            retry=once_more(),
            decode_responses=True,
            encoding_errors="replace",  # bytes that are not valid text go to the dead letters and must not end this thread
        )
        self._take = self._redis.register_script(_TAKE)

    def take(self, limit: int) -> list[Taken]:
        """Take up to `limit` messages, oldest first. Until `done` is called, they belong to this consumer and are returned again.

        Raises:
            Unavailable: Redis does not answer.
        """
        with _answering():
            taken = cast("list[str]", self._take(keys=[RESULTS_QUEUE, keys.CONSUMERS], args=[self._name, limit, DEAD_AFTER_MS, keys.TAKEN]))
        return [_opened(message) for message in taken]

    def wait(self, seconds: float) -> None:
        """Wait until there is a message, or until the time is over.

        Raises:
            Unavailable: Redis does not answer.
        """
        with _answering():
            # The source and the destination are the same list, so this waits for a message and changes nothing.
            self._redis.blmove(RESULTS_QUEUE, RESULTS_QUEUE, int(seconds) or 1, "RIGHT", "RIGHT")

    def done(self) -> None:
        """Delete the messages that were taken. Call this when they are recorded.

        Raises:
            Unavailable: Redis does not answer. The messages are then taken and recorded again later, which changes nothing.
        """
        with _answering():
            self._redis.delete(keys.TAKEN + self._name)

    def close(self) -> None:
        """Give messages back that were taken and not recorded, and close the connection."""
        try:
            while self._redis.lmove(keys.TAKEN + self._name, RESULTS_QUEUE, "LEFT", "RIGHT"):
                pass
            self._redis.zrem(keys.CONSUMERS, self._name)
        except redis.RedisError:
            return  # Redis is away; when it is back, another consumer takes the messages back
        finally:
            self._redis.close()


def _opened(message: str) -> Taken:
    """Return the message inside kombu's envelope. A message without an envelope is returned unchanged."""
    try:
        envelope = json.loads(message)
        body = str(envelope["body"])
        encoded = envelope["properties"].get("body_encoding") == "base64"
        mac = str((envelope.get("headers") or {}).get(HEADER, ""))
        return Taken(base64.b64decode(body) if encoded else body.encode(errors="replace"), mac)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Taken(message.encode(errors="replace"), "")


def _answering() -> AbstractContextManager[None]:
    return answering("the results queue")
