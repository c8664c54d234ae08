"""Simulates passing time for Redis. Tests cannot change Redis' clock, so this module makes all stored times older."""

from __future__ import annotations

import redis

_AGE = """
local ms = tonumber(ARGV[1])
local sets = redis.call('KEYS', 'fleetmark:faults:*')
table.insert(sets, 'fleetmark:consumers')
for _, key in ipairs(sets) do
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -ms, member) end
end
for _, key in ipairs(redis.call('KEYS', 'fleetmark:worker:*')) do
  for _, field in ipairs({'last_seen', 'quarantined_until'}) do
    if redis.call('HEXISTS', key, field) == 1 then redis.call('HINCRBY', key, field, -ms) end
  end
end
for _, key in ipairs(redis.call('KEYS', 'fleetmark:claim:*')) do
  if redis.call('HEXISTS', key, 'at') == 1 then redis.call('HINCRBY', key, 'at', -ms) end
end
if redis.call('HEXISTS', 'fleetmark:monitor', 'last_sweep') == 1 then
  redis.call('HINCRBYFLOAT', 'fleetmark:monitor', 'last_sweep', -ms / 1000)
end
local lives = redis.call('KEYS', 'fleetmark:quarantines:*')
table.insert(lives, 'fleetmark:leader')
for _, key in ipairs(lives) do
  local left = redis.call('PTTL', key)
  if left > ms then redis.call('PEXPIRE', key, left - ms) elseif left > 0 then redis.call('DEL', key) end
end
"""


def pass_time(client: redis.Redis, seconds: float) -> None:
    """Change Redis as if this much time had passed without a heartbeat."""
    client.eval(_AGE, 0, int(seconds * 1000))
