"""Claims jobs for workers, and marks jobs that have ended."""

from __future__ import annotations

from shared.protocol.scripts.words import KEYS, NOW

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
    NOW
    + KEYS
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
    NOW
    + KEYS
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
    KEYS
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

# Deletes a claim, if it belongs to this attempt and incarnation. ARGV: job id, attempt, incarnation. Returns 1 or 0.
RELEASE = (
    KEYS
    + """
local key = CLAIM .. ARGV[1]
local seen = redis.call('HMGET', key, 'attempt', 'incarnation')
if seen[1] == ARGV[2] and seen[2] == ARGV[3] then return redis.call('DEL', key) end
return 0
"""
)

# Marks jobs as ended, so that no worker can claim them any more. Works at maxmemory. ARGV: time to live of the mark s, job ids.
TOMBSTONE = (
    KEYS
    + """
for i = 2, #ARGV do
  redis.call('DEL', CLAIM .. ARGV[i])
  redis.call('SET', ENDED .. ARGV[i], '1', 'EX', ARGV[1])
end
return 1
"""
)
