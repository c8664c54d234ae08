"""Reads and changes the states of workers."""

from __future__ import annotations

from shared.protocol.scripts.words import KEYS, NOW, UNACKED

SERVICE = "service:"  # precedes the id of a service in the answer to a heartbeat, where ids of jobs stand too

# Records a heartbeat.
# ARGV: worker id, incarnation or '' (for a device that uses only REST), status or '', current job,
#       held JSON [[job_id, attempt], ...], stage, progress (0..1 or ''), metrics JSON or '', and if the current job takes turns with
#       others, their stages as JSON {job_id: [stage, progress or null], ...}
# Returns {'unknown'} | {'conflict'} | {'ok', status, reason of its quarantine or '', ids of the held jobs that have ended ...}, and if a
# user has stopped an idle service of this worker, `SERVICE` and its id after them.
# A worker with the status `gone` is unknown too, and must register again. A heartbeat over REST does not overwrite the jobs that
# a worker process has reported.
HEARTBEAT = (
    NOW
    + KEYS
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
  redis.call('HSET', key, 'current_job', ARGV[4], 'held', ARGV[5], 'stage', ARGV[6], 'progress', ARGV[7], 'others', ARGV[9] or '')
  redis.call('HINCRBY', key, 'beats', 1)
end
local rest = redis.call('HMGET', key, 'quarantined_until', 'quarantine_reason')
local resting = (tonumber(rest[1] or '') or 0) > now
local answer = {'ok', redis.call('HGET', key, 'status'), resting and rest[2] or ''}
for _, pair in ipairs(cjson.decode(ARGV[5])) do
  if redis.call('EXISTS', ENDED .. pair[1]) == 1 then table.insert(answer, pair[1]) end
end
local unwanted = redis.call('HGET', key, 'unwanted_service')
if unwanted then table.insert(answer, '"""
    + SERVICE
    + """' .. unwanted) end
return answer
"""
)

# Tells a worker at its next heartbeats that a user has stopped an idle service. ARGV: worker id, service id. The field stays: an id is of
# one service only, and a lost answer does no harm then. Returns 0 if the worker is not registered or is gone.
STOP_SERVICE = (
    KEYS
    + """
local key = WORKER .. ARGV[1]
if redis.call('HEXISTS', WORKERS, ARGV[1]) == 0 or redis.call('HGET', key, 'status') == 'gone' then return 0 end
redis.call('HSET', key, 'unwanted_service', ARGV[2])
return 1
"""
)

# Reads the state of workers.
# ARGV: how many fields, the wanted fields of a worker's state, then worker ids.
# Returns {now ms, {values of the first worker}, ...}.
# One answer holds many workers, because a thousand separate commands would cost the caller much time.
STATES = (
    NOW
    + KEYS
    + """
local answer, first = {now}, tonumber(ARGV[1]) + 2
local fields = {unpack(ARGV, 2, first - 1)}
for i = first, #ARGV do answer[i - first + 2] = redis.call('HMGET', WORKER .. ARGV[i], unpack(fields)) end
return answer
"""
)

# Changes the status of a worker, if it still has the status that the caller has seen.
# ARGV: worker id, seen status, new status. Returns 1 or 0.
STEP = (
    KEYS
    + """
local key = WORKER .. ARGV[1]
if redis.call('HGET', key, 'status') ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'status', ARGV[3])
return 1
"""
)

# Makes a worker active, whatever its state, and forgets its faults and its quarantine. ARGV: worker id. This counts as a heartbeat. What a
# process says that it works on stays. Returns 0 if the worker is not registered or is gone, because only a registration brings it back.
RESET = (
    NOW
    + KEYS
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

# Sets the status of a worker without heartbeats to `faulty`. ARGV: worker id, heartbeat timeout ms.
# Returns 1, or 0 if the worker has sent a heartbeat since, has left, or is faulty already.
CONDEMN = (
    NOW
    + KEYS
    + UNACKED
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
