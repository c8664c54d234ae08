"""Registers workers, changes what is known of them, and takes them out of the fleet again."""

from __future__ import annotations

from shared.protocol.scripts.words import KEYS, NOW

# Decides about a registration; the beginning of `REGISTER` and `MAY_REGISTER`.
# ARGV: proposed worker id, UDID or '', registration JSON, incarnation or '', heartbeat timeout ms, and if it is known, how many ms
#       the worker's clock is ahead of ours (negative if it is behind)
# Returns {worker id, 'created' | 'reconnected' | 'conflict'}. It is not a conflict if the registration names the known incarnation as its
# dead predecessor, because a crashed worker may be back within two seconds.
_MAY_REGISTER = (
    NOW
    + KEYS
    + """
local id, action = ARGV[1], 'created'
if ARGV[2] ~= '' then
  local known = redis.call('HGET', IDENTITIES, ARGV[2])
  if known then id = known; action = 'reconnected' end
end
local key = WORKER .. id
if action == 'reconnected' then
  local seen = redis.call('HMGET', key, 'incarnation', 'last_seen', 'status')
  local heard = tonumber(seen[2] or '')
  local living = heard and now - heard < tonumber(ARGV[5]) and seen[3] ~= 'gone'
  local dead = cjson.decode(ARGV[3])['previous_incarnation']
  if living and ARGV[4] ~= '' and seen[1] and seen[1] ~= '' and seen[1] ~= ARGV[4] and seen[1] ~= dead then
    return {id, 'conflict'}
  end
end
"""
)

REGISTER = (
    _MAY_REGISTER
    + """
local again = ARGV[4] ~= '' and redis.call('HGET', key, 'incarnation') == ARGV[4]
redis.call('HSET', WORKERS, id, ARGV[3])
redis.call('HDEL', DEPARTED, id)
redis.call('ZREM', FORMER, id)
if ARGV[2] ~= '' then redis.call('HSET', IDENTITIES, ARGV[2], id) end
redis.call('HSETNX', key, 'registered_at', now)
redis.call('HSET', key, 'status', 'active', 'incarnation', ARGV[4], 'last_seen', now, 'said', redis.sha1hex(ARGV[3]))
if ARGV[6] then redis.call('HSET', key, 'clock_offset_ms', ARGV[6]) else redis.call('HDEL', key, 'clock_offset_ms') end
-- A process that registers again, for example because it lost its login, keeps its jobs. A new process starts without any.
if not again then redis.call('HSET', key, 'current_job', '', 'held', '[]', 'stage', '', 'progress', '') end
return {id, action}
"""
)

# ARGV and the answer are the same as for REGISTER. This script writes nothing.
MAY_REGISTER = _MAY_REGISTER + "return {id, action}\n"

# Changes what is known of a worker: its labels, which stay when it registers again, or its whole registration.
# ARGV: worker id, labels JSON ('null' gives the worker its own labels back, '' changes nothing), new registration JSON or '', the
#       registration JSON that the caller has read
# Returns 'done' | 'unknown' (not registered, or gone) | 'process' (a worker process registered it, which says itself what it can do)
#       | 'changed' (it registered again since the caller has read it).
CHANGE = (
    KEYS
    + """
local key = WORKER .. ARGV[1]
if redis.call('HEXISTS', WORKERS, ARGV[1]) == 0 or redis.call('HGET', key, 'status') == 'gone' then return 'unknown' end
if ARGV[3] ~= '' then
  local mine = redis.call('HGET', key, 'incarnation')
  if mine and mine ~= '' then return 'process' end
  if redis.call('HGET', WORKERS, ARGV[1]) ~= ARGV[4] then return 'changed' end
  redis.call('HSET', WORKERS, ARGV[1], ARGV[3])
  redis.call('HSET', key, 'said', redis.sha1hex(ARGV[3]))
end
if ARGV[2] == 'null' then redis.call('HDEL', key, 'labels') elseif ARGV[2] ~= '' then redis.call('HSET', key, 'labels', ARGV[2]) end
return 'done'
"""
)

# Sets the status of a worker that stops to `gone`. It does nothing if the worker has another incarnation. A worker that registered
# without an incarnation (a device that uses only REST) cannot differ in it.
# ARGV: worker id, incarnation or ''. Returns 1 or 0.
DEREGISTER = (
    KEYS
    + """
local key = WORKER .. ARGV[1]
local mine = redis.call('HGET', key, 'incarnation')
if ARGV[2] ~= '' and mine and mine ~= '' and mine ~= ARGV[2] then return 0 end
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HSET', key, 'status', 'gone', 'current_job', '', 'held', '[]')
return 1
"""
)

# Moves a worker with the status `gone` from WORKERS to DEPARTED, which is read only to list all workers.
# ARGV: worker id. Returns 1 or 0.
DEPART = (
    KEYS
    + """
local said = redis.call('HGET', WORKERS, ARGV[1])
if not said or redis.call('HGET', WORKER .. ARGV[1], 'status') ~= 'gone' then return 0 end
redis.call('HSET', DEPARTED, ARGV[1], said)
return redis.call('HDEL', WORKERS, ARGV[1])
"""
)

# Deletes the data of a worker that left or stopped sending long ago. If it comes back, it is registered as new, with the same id.
# ARGV: worker id, its expected status, ms that it must have been silent, ms for which its id is kept in FORMER. Returns 1 or 0.
FORGET = (
    NOW
    + KEYS
    + """
local id, key = ARGV[1], WORKER .. ARGV[1]
local seen = redis.call('HMGET', key, 'status', 'last_seen')
if seen[1] ~= ARGV[2] or now - (tonumber(seen[2] or '') or 0) < tonumber(ARGV[3]) then return 0 end
local said = redis.call('HGET', DEPARTED, id) or redis.call('HGET', WORKERS, id) or ''
local readable, device = pcall(function() return cjson.decode(said).device_info.UDID end)
if readable and type(device) == 'string' and redis.call('HGET', IDENTITIES, device) == id then redis.call('HDEL', IDENTITIES, device) end
redis.call('HDEL', WORKERS, id)
redis.call('HDEL', DEPARTED, id)
redis.call('DEL', key, FAULTS .. id, QUARANTINES .. id)
redis.call('ZREMRANGEBYSCORE', FORMER, '-inf', now - tonumber(ARGV[4]))
redis.call('ZADD', FORMER, now, id)
return 1
"""
)
