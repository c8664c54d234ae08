"""Lua scripts: each is one atomic step in Redis, run by whichever side needs it. Times are Redis' own, in milliseconds.

Keys are built inside the scripts from the prefix, so they need a single Redis (or Sentinel), not Redis Cluster. A script runs with
the rights of its caller: what a worker's scripts touch, shared.protocol.logins allows it.

"At maxmemory too": a full Redis refuses what may take memory, unless the script has written before, so there a write that takes none
comes first. These keep less than the message they are about, which goes when they are done; refused, a Redis that is full of
results would stay full.
"""

from __future__ import annotations

from shared.protocol import keys

_NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
# The names of the keys, as `shared.protocol.keys` has them: a script that built them itself would go on with old ones unnoticed.
_NAMES = ("WORKERS", "DEPARTED", "FORMER", "IDENTITIES", "DEAD_LETTERS", "WORKER", "FAULTS", "QUARANTINES", "CLAIM", "ENDED")
_KEYS = "".join(f"local {name} = '{getattr(keys, name)}'\n" for name in _NAMES)
_UNACKED = f"local UNACKED = {{{', '.join(repr(name) for name in keys.UNACKED)}}}\n"

# ARGV: proposed worker id, UDID or '', registration JSON, incarnation or '', heartbeat timeout ms, and where it is known how many ms
#       the worker's clock is ahead of ours (negative when it is behind)
# Returns {worker id, 'created' | 'reconnected' | 'conflict'}. An incarnation that the registration names as its own dead
# predecessor is no conflict: a worker that crashed may be back in two seconds.
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
-- The process that enrols again, having lost its login say, has what it had.
if not again then redis.call('HSET', key, 'current_job', '', 'held', '[]', 'stage', '', 'progress', '') end
return {id, action}
"""
)

# ARGV and answer as for REGISTER. It writes nothing.
MAY_REGISTER = _MAY_REGISTER + "return {id, action}\n"

# ARGV: worker id, incarnation or '' (a device driven by REST alone), status or '', current job,
#       held JSON [[job_id, attempt], ...], stage, progress (0..1 or ''), metrics JSON or ''
# Returns {'unknown'} | {'conflict'} | {'ok', status, why it is in quarantine or '', cancelled job ids ...}.
# A worker that is gone is unknown, too: only a registration brings it back. What a process says that it works on, no call of
# REST overwrites.
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

# ARGV: which hash (`WORKERS` or `DEPARTED`), then the fields of a worker's state that are wanted. Every worker in one answer, as a thousand
# commands cost their caller more than Redis. Registrations are large and seldom change, so they are read apart, once each.
# Returns {now ms, {worker id, ...}, {values of the first worker}, ...}.
FLEET = (
    _NOW
    + _KEYS
    + """
local ids = redis.call('HKEYS', ARGV[1])
local answer = {now, ids}
for i, id in ipairs(ids) do answer[i + 2] = redis.call('HMGET', WORKER .. id, unpack(ARGV, 2)) end
return answer
"""
)

# ARGV: worker id. A worker that has left goes where only those look who list everyone. Returns 1 or 0.
DEPART = (
    _KEYS
    + """
local said = redis.call('HGET', WORKERS, ARGV[1])
if not said or redis.call('HGET', WORKER .. ARGV[1], 'status') ~= 'gone' then return 0 end
redis.call('HSET', DEPARTED, ARGV[1], said)
return redis.call('HDEL', WORKERS, ARGV[1])
"""
)

# ARGV: worker id, the state it is in, how long it must have been silent ms, how long its id is remembered ms.
# Forgets a worker that left or fell silent long ago. If it comes back, it is entered anew, under the same id. Returns 1 or 0.
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

# ARGV: worker id, incarnation. A graceful goodbye: the worker is gone, at once. Another incarnation's is left alone.
DEREGISTER = (
    _KEYS
    + """
local key = WORKER .. ARGV[1]
local mine = redis.call('HGET', key, 'incarnation')
if ARGV[2] ~= '' and mine and mine ~= ARGV[2] then return 0 end
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HSET', key, 'status', 'gone', 'current_job', '', 'held', '[]')
return 1
"""
)

# Any worker can write any claim, so a claim is believed as far as its holder confirms it: `confirmed` tells whether that worker is heard,
# in the incarnation it claimed in, and says that it has the attempt; for one timeout it need not have said so yet.
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

# ARGV: job id, attempt, worker id, incarnation, heartbeat timeout ms, time to live of the claim s
# Returns 'claimed' | 'cancelled' | 'superseded' | 'held' | 'quarantined'.
# A later attempt supersedes this one also when its holder has died: the message is an old copy. If it is none, because the
# later attempt was never issued, DOUBT_CLAIM takes that claim away.
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

# ARGV: job id, the attempt that the table has issued last, heartbeat timeout ms. Forgets a claim of a later one, unless its holder
# confirms it: then the table was read too early. Returns 1 or 0.
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

# ARGV: cursor, longest time to live of a claim s. A step of a walk over all claims; returns {next cursor, {job id, ...}}.
# CLAIM gives each a time to live, and jobs have ids of one shape: what is otherwise, no worker of ours has made, and goes.
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

# ARGV: who, queue, reason, message, how many to keep. Keeps a message that cannot be read, newest first; at `maxmemory` too.
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

# ARGV: job id, attempt, incarnation. Gives a claim back; somebody else's is left alone.
RELEASE = (
    _KEYS
    + """
local key = CLAIM .. ARGV[1]
local seen = redis.call('HMGET', key, 'attempt', 'incarnation')
if seen[1] == ARGV[2] and seen[2] == ARGV[3] then return redis.call('DEL', key) end
return 0
"""
)

# ARGV: worker id, state it was seen in, state it is to have. A step that nobody else has taken meanwhile; 1 or 0.
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

# ARGV: worker id, heartbeat timeout ms. A silent worker is faulty; 0 when it was heard of meanwhile, has left, or somebody
# else was first.
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

# ARGV: worker id, cause, why (for people), faults it takes, window ms, quarantine ms, longest ms, memory of earlier ones ms
# Counts a fault of a device, the same cause once; as many as it takes within the window put it into quarantine, each time
# for twice as long. Returns how long that is, in ms, or 0.
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

# ARGV: time to live of a tombstone s, job ids. They have ended: nobody may claim them any more. At `maxmemory` too.
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

# KEYS: a worker's answers. ARGV: their time to live s, then field and verdict by turns. At `maxmemory` too.
ANSWER = """
for i = 2, #ARGV, 2 do redis.call('HDEL', KEYS[1], ARGV[i]) end
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""
