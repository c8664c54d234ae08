"""Defines the Lua scripts. Each is one atomic step in Redis. Their times come from Redis' own clock, in milliseconds.

The scripts build the names of keys themselves, so they need a single Redis server. Redis Cluster cannot run them. A script runs with the
rights of its caller, so `shared.protocol.logins` must allow a worker every command that its scripts run.

Some scripts are marked "Works at maxmemory". A full Redis refuses commands that may need memory, unless the script has already written
something. So these scripts begin with a write that needs no memory. They must succeed, because afterwards a larger message is removed.
Otherwise a Redis that is full of results would stay full.
"""

from __future__ import annotations

from shared.protocol.scripts.claims import CLAIM, CLAIMS, DOUBT_CLAIM, RELEASE, TOMBSTONE
from shared.protocol.scripts.faults import FAULT
from shared.protocol.scripts.mail import ANSWER, BURY
from shared.protocol.scripts.registrations import CHANGE, DEPART, DEREGISTER, FORGET, MAY_REGISTER, REGISTER
from shared.protocol.scripts.states import CONDEMN, HEARTBEAT, RESET, SERVICE, STATES, STEP, STOP_SERVICE

__all__ = [
    "ANSWER",
    "BURY",
    "CHANGE",
    "CLAIM",
    "CLAIMS",
    "CONDEMN",
    "DEPART",
    "DEREGISTER",
    "DOUBT_CLAIM",
    "FAULT",
    "FORGET",
    "HEARTBEAT",
    "MAY_REGISTER",
    "REGISTER",
    "RELEASE",
    "RESET",
    "SERVICE",
    "STATES",
    "STEP",
    "STOP_SERVICE",
    "TOMBSTONE",
]
