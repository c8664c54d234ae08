"""Defines the Lua scripts. Each is one atomic step in Redis. Their times come from Redis' own clock, in milliseconds.

The scripts build the names of keys themselves, so they need a single Redis server. Redis Cluster cannot run them. A script runs with the
rights of its caller, so `shared.protocol.logins` must allow a worker every command that its scripts run.

Some scripts are marked "Works at maxmemory". A full Redis refuses commands that may need memory, unless the script has already written
something. So these scripts begin with a write that needs no memory. They must succeed, because afterwards a larger message is removed.
Otherwise a Redis that is full of results would stay full.
"""

from __future__ import annotations

from shared.protocol import keys

_NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
# Passes the key names of `shared.protocol.keys` to the scripts. Copies in the scripts would go out of date unnoticed.
_NAMES = ("WORKERS", "DEPARTED", "FORMER", "IDENTITIES", "DEAD_LETTERS", "WORKER", "FAULTS", "QUARANTINES", "CLAIM", "ENDED")
_KEYS = "".join(f"local {name} = '{getattr(keys, name)}'\n" for name in _NAMES)
_UNACKED = f"local UNACKED = {{{', '.join(repr(name) for name in keys.UNACKED)}}}\n"

# Decides about a registration; the beginning of `REGISTER` and `MAY_REGISTER`.
# ARGV: proposed worker id, UDID or '', registration JSON, incarnation or '', heartbeat timeout ms, and if it is known, how many ms
#       the worker's clock is ahead of ours (negative if it is behind)
# Returns {worker id, 'created' | 'reconnected' | 'conflict'}. It is not a conflict if the registration names the known incarnation as its
# dead predecessor, because a crashed worker may be back within two seconds.
_MAY_REGISTER = (
    _NOW
    + _KEYS
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

# ARGV and answer as for REGISTER. It writes nothing.
MAY_REGISTER = _MAY_REGISTER + "return {id, action}\n"

# Records a heartbeat.
# ARGV: worker id, incarnation or '' (for a device that uses only REST), status or '', current job,
#       held JSON [[job_id, attempt], ...], stage, progress (0..1 or ''), metrics JSON or ''
# Returns {'unknown'} | {'conflict'} | {'ok', status, reason of its quarantine or '', ids of the held jobs that have ended ...}.
# A worker with the status `gone` is unknown too, and must register again. A heartbeat over REST does not overwrite the jobs that
# a worker process has reported.
HEARTBEAT = (
    _NOW
    + _KEYS
    + """
local key = WORKER .. ARGV[1]
if redis.call('HEXISTS', WORKERS, ARGV[1]) == 0 then return {'unknown'} end
local mine = redis.call('HGET', key, 'incarnation')
if ARGV[2] ~= '' and mine and mine ~= '' and mine ~= ARGV[2] then return {'conflict'} end
if redis.call('HGET', key, 'status') == 'gone' then return {'unknown'} end
if ARGV[3] ~= '' then
  redis.call('HSET', key, 'status', ARGV[3])
elseif redis.call('HGET', key, 'status') == 'faulty' then
  redis.call('HSET', key, 'status', 'active')
end
redis.call('HSET', key, 'last_seen', now)
if ARGV[8] ~= '' then redis.call('HSET', key, 'metrics', ARGV[8]) end
if ARGV[2] ~= '' or not mine or mine == '' then
  redis.call('HSET', key, 'current_job', ARGV[4], 'held', ARGV[5], 'stage', ARGV[6], 'progress', ARGV[7])
  redis.call('HINCRBY', key, 'beats', 1)
end
local rest = redis.call('HMGET', key, 'quarantined_until', 'quarantine_reason')
local resting = (tonumber(rest[1] or '') or 0) > now
local answer = {'ok', redis.call('HGET', key, 'status'), resting and rest[2] or ''}
for _, pair in ipairs(cjson.decode(ARGV[5])) do
  if redis.call('EXISTS', ENDED .. pair[1]) == 1 then table.insert(answer, pair[1]) end
end
return answer
"""
)

# Reads the state of workers.
# ARGV: how many fields, the wanted fields of a worker's state, then worker ids.
# Returns {now ms, {values of the first worker}, ...}.
# One answer holds many workers, because a thousand separate commands would cost the caller much time.
STATES = (
    _NOW
    + _KEYS
    + """
local answer, first = {now}, tonumber(ARGV[1]) + 2
local fields = {unpack(ARGV, 2, first - 1)}
for i = first, #ARGV do answer[i - first + 2] = redis.call('HMGET', WORKER .. ARGV[i], unpack(fields)) end
return answer
"""
)

# Moves a worker with the status `gone` from WORKERS to DEPARTED, which is read only to list all workers.
# ARGV: worker id. Returns 1 or 0.
DEPART = (
    _KEYS
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
    _NOW
    + _KEYS
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

# Sets the status of a worker that stops to `gone`. It does nothing if the worker has another incarnation. A worker that registered
# without an incarnation (a device that uses only REST) has none that could differ.
# ARGV: worker id, incarnation or ''. Returns 1 or 0.
DEREGISTER = (
    _KEYS
    + """
local key = WORKER .. ARGV[1]
local mine = redis.call('HGET', key, 'incarnation')
if ARGV[2] ~= '' and mine and mine ~= '' and mine ~= ARGV[2] then return 0 end
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HSET', key, 'status', 'gone', 'current_job', '', 'held', '[]')
return 1
"""
)

# Any worker can write a claim for any job. So a claim counts only while its holder confirms it. `confirmed` returns true if that worker
# sends heartbeats, has the incarnation of the claim, and reports the attempt in `held`. A claim younger than one heartbeat timeout need not
# be reported yet.
_CLAIM_OF = """
local function attempt_of(claim)
  local text = claim[1] or ''
  return #text < 10 and string.match(text, '^%d+$') and tonumber(text) or nil
end
local function confirmed(claim, job, timeout)
  if not (claim[2] and claim[3]) then return false end
  local holder = redis.call('HMGET', WORKER .. claim[2], 'incarnation', 'last_seen', 'status', 'held')
  local heard = tonumber(holder[2] or '')
  if holder[1] ~= claim[3] or holder[3] == 'gone' or not (heard and now - heard < timeout) then return false end
  local at = tonumber(claim[4] or '')
  if at and at <= now and now - at < timeout then return true end
  local readable, held = pcall(cjson.decode, holder[4] or '')
  if not readable or type(held) ~= 'table' then return false end
  for _, pair in ipairs(held) do
    if type(pair) == 'table' and pair[1] == job and pair[2] == attempt_of(claim) then return true end
  end
  return false
end
local function claim_of(job) return redis.call('HMGET', CLAIM .. job, 'attempt', 'worker', 'incarnation', 'at') end
"""

# Claims a job for a worker.
# ARGV: job id, attempt, worker id, incarnation, heartbeat timeout ms, time to live of the claim s
# Returns 'claimed' | 'cancelled' | 'superseded' | 'held' | 'quarantined'.
# A claim of a later attempt supersedes this one even if its holder has died, because then this message is an old copy. If the later
# attempt was never issued, its claim is false, and DOUBT_CLAIM deletes it.
CLAIM = (
    _NOW
    + _KEYS
    + _CLAIM_OF
    + """
if redis.call('EXISTS', ENDED .. ARGV[1]) == 1 then return 'cancelled' end
local claim, attempt, timeout = claim_of(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[5])
local claimed = attempt_of(claim)
if claimed and claimed > attempt then return 'superseded' end
local mine = claim[2] == ARGV[3] and claim[3] == ARGV[4]
if claimed == attempt and not mine and confirmed(claim, ARGV[1], timeout) then return 'held' end
local rest = redis.call('HGET', WORKER .. ARGV[3], 'quarantined_until')
if (tonumber(rest or '') or 0) > now then return 'quarantined' end
local key = CLAIM .. ARGV[1]
redis.call('HSET', key, 'attempt', ARGV[2], 'worker', ARGV[3], 'incarnation', ARGV[4], 'at', now)
redis.call('EXPIRE', key, ARGV[6])
return 'claimed'
"""
)

# Deletes a claim of an attempt that was never issued. If the holder confirms the claim, it stays, because then the database was read before
# the attempt was issued.
# ARGV: job id, the last attempt issued according to the database, heartbeat timeout ms. Returns 1 or 0.
DOUBT_CLAIM = (
    _NOW
    + _KEYS
    + _CLAIM_OF
    + """
local claim = claim_of(ARGV[1])
local claimed = attempt_of(claim)
if not claimed or claimed <= tonumber(ARGV[2]) or confirmed(claim, ARGV[1], tonumber(ARGV[3])) then return 0 end
return redis.call('DEL', CLAIM .. ARGV[1])
"""
)

# Performs one step of a scan over all claims. It also deletes claims without a valid job id or time to live, because the script CLAIM
# writes no such claims.
# ARGV: cursor, longest time to live of a claim s. Returns {next cursor, {job id, ...}}.
CLAIMS = (
    _KEYS
    + """
local step = redis.call('SCAN', ARGV[1], 'MATCH', CLAIM .. '*', 'COUNT', 1000)
local ids = {}
for _, key in ipairs(step[2]) do
  local id, lives = string.sub(key, #CLAIM + 1), redis.call('TTL', key)
  local shaped = #id < 64 and string.match(id, '^campaign%-%w+%-job%-%d+$')
  if shaped and lives >= 0 and lives <= tonumber(ARGV[2]) then table.insert(ids, id) else redis.call('UNLINK', key) end
end
return {step[1], ids}
"""
)

# Adds a message that cannot be read to the dead letters, newest first. Works at maxmemory.
# ARGV: who, queue, reason, message, how many letters to keep.
BURY = (
    _NOW
    + _KEYS
    + """
local letter = cjson.encode({at = now / 1000, by = ARGV[1], queue = ARGV[2], reason = ARGV[3], message = ARGV[4]})
redis.call('LTRIM', DEAD_LETTERS, 0, ARGV[5] - 2)
redis.call('LPUSH', DEAD_LETTERS, letter)
return 1
"""
)

# Deletes a claim, if it belongs to this attempt and incarnation. ARGV: job id, attempt, incarnation. Returns 1 or 0.
RELEASE = (
    _KEYS
    + """
local key = CLAIM .. ARGV[1]
local seen = redis.call('HMGET', key, 'attempt', 'incarnation')
if seen[1] == ARGV[2] and seen[2] == ARGV[3] then return redis.call('DEL', key) end
return 0
"""
)

# Changes the status of a worker, if it still has the status that the caller has seen.
# ARGV: worker id, seen status, new status. Returns 1 or 0.
STEP = (
    _KEYS
    + """
local key = WORKER .. ARGV[1]
if redis.call('HGET', key, 'status') ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'status', ARGV[3])
return 1
"""
)

# ARGV: worker id. Makes a worker active, whatever its state, and forgets its faults and its quarantine. This counts as a heartbeat; what a
# process says that it works on stays. Returns 0 if the worker is not registered or is gone: only a registration brings it back.
RESET = (
    _NOW
    + _KEYS
    + """
local key = WORKER .. ARGV[1]
if redis.call('HEXISTS', WORKERS, ARGV[1]) == 0 or redis.call('HGET', key, 'status') == 'gone' then return 0 end
redis.call('HSET', key, 'status', 'active', 'last_seen', now)
local mine = redis.call('HGET', key, 'incarnation')
if not mine or mine == '' then
  redis.call('HSET', key, 'current_job', '', 'held', '[]', 'stage', '', 'progress', '')
  redis.call('HINCRBY', key, 'beats', 1)
end
redis.call('HDEL', key, 'quarantined_until', 'quarantine_reason')
redis.call('DEL', FAULTS .. ARGV[1], QUARANTINES .. ARGV[1])
return 1
"""
)

# Changes what is known of a worker: its labels, which stay when it registers again, or its whole registration.
# ARGV: worker id, labels JSON ('null' gives the worker its own labels back, '' changes nothing), new registration JSON or '', the
#       registration JSON that the caller has read
# Returns 'done' | 'unknown' (not registered, or gone) | 'process' (a worker process registered it, which says itself what it can do)
#       | 'changed' (it registered again since the caller has read it).
CHANGE = (
    _KEYS
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

# Sets the status of a worker without heartbeats to `faulty`. ARGV: worker id, heartbeat timeout ms.
# Returns 1, or 0 if the worker has sent a heartbeat since, has left, or is faulty already.
CONDEMN = (
    _NOW
    + _KEYS
    + _UNACKED
    + """
local key = WORKER .. ARGV[1]
local seen = redis.call('HMGET', key, 'last_seen', 'status')
local at = tonumber(seen[1] or '')
if not at or now - at < tonumber(ARGV[2]) or seen[2] == 'faulty' or seen[2] == 'gone' then return 0 end
redis.call('HSET', key, 'status', 'faulty', 'current_job', '', 'held', '[]')
-- The watch brings its jobs back; the messages it had taken would wait for a device that may never return.
for _, name in ipairs(UNACKED) do redis.call('DEL', name .. ARGV[1]) end
return 1
"""
)

# Counts a fault of a device. Enough faults within the window put it into quarantine; each quarantine lasts twice as long as the previous
# one. Faults with the same cause count once.
# ARGV: worker id, cause, reason (for people), number of faults that lead to quarantine, window ms, first quarantine ms, longest
#       quarantine ms, ms for which earlier quarantines count
# Returns the length of the new quarantine in ms, or 0.
FAULT = (
    _NOW
    + _KEYS
    + """
local key = WORKER .. ARGV[1]
if redis.call('EXISTS', key) == 0 then return 0 end
local faults, terms = FAULTS .. ARGV[1], QUARANTINES .. ARGV[1]
redis.call('ZREMRANGEBYSCORE', faults, '-inf', now - tonumber(ARGV[5]))
redis.call('ZADD', faults, now, ARGV[2])
redis.call('PEXPIRE', faults, ARGV[5])
if redis.call('ZCARD', faults) < tonumber(ARGV[4]) then return 0 end
redis.call('DEL', faults)
local term = redis.call('INCR', terms)
redis.call('PEXPIRE', terms, ARGV[8])
local lasts = math.min(tonumber(ARGV[6]) * 2 ^ (term - 1), tonumber(ARGV[7]))
redis.call('HSET', key, 'quarantined_until', string.format('%d', now + lasts), 'quarantine_reason', ARGV[3])
return lasts
"""
)

# Marks jobs as ended, so that no worker can claim them any more. Works at maxmemory. ARGV: time to live of the mark s, job ids.
TOMBSTONE = (
    _KEYS
    + """
for i = 2, #ARGV do
  redis.call('DEL', CLAIM .. ARGV[i])
  redis.call('SET', ENDED .. ARGV[i], '1', 'EX', ARGV[1])
end
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
