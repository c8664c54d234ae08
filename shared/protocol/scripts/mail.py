"""Tells workers what happened to their results, and keeps messages that cannot be read."""

from __future__ import annotations

from shared.protocol.scripts.words import KEYS, NOW

# Adds a message that cannot be read to the dead letters, newest first. Works at maxmemory.
# ARGV: who, queue, reason, message, how many letters to keep.
BURY = (
    NOW
    + KEYS
    + """
local letter = cjson.encode({at = now / 1000, by = ARGV[1], queue = ARGV[2], reason = ARGV[3], message = ARGV[4]})
redis.call('LTRIM', DEAD_LETTERS, 0, ARGV[5] - 2)
redis.call('LPUSH', DEAD_LETTERS, letter)
return 1
"""
)

# Tells a worker what happened to its results. Works at maxmemory.
# KEYS: the hash of the worker's answers. ARGV: its time to live s, then fields and values in turn.
ANSWER = """
for i = 2, #ARGV, 2 do redis.call('HDEL', KEYS[1], ARGV[i]) end
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""
