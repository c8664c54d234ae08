"""Holds the beginnings of the scripts: the time of Redis' clock, and the names of the keys.

The names are those of `shared.protocol.keys`. Copies in the scripts would go out of date unnoticed.
"""

from __future__ import annotations

from shared.protocol import keys

NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
_NAMES = ("WORKERS", "DEPARTED", "FORMER", "IDENTITIES", "DEAD_LETTERS", "WORKER", "FAULTS", "QUARANTINES", "CLAIM", "ENDED")
KEYS = "".join(f"local {name} = '{getattr(keys, name)}'\n" for name in _NAMES)
UNACKED = f"local UNACKED = {{{', '.join(repr(name) for name in keys.UNACKED)}}}\n"
