"""Counts faults of devices."""

from __future__ import annotations

from shared.protocol.scripts.words import KEYS, NOW

# Counts a fault of a device. Enough faults within the window put it into quarantine; each quarantine lasts twice as long as the previous
# one. Faults with the same cause count once.
# ARGV: worker id, cause, reason (for people), number of faults that lead to quarantine, window ms, first quarantine ms, longest
#       quarantine ms, ms for which earlier quarantines count
# Returns the length of the new quarantine in ms, or 0.
FAULT = (
    NOW
    + KEYS
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
