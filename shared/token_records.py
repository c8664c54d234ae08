"""Defines the sections of `requests.bin` that hold what a language model wrote: one record for each request, in the order of the requests.

    bytes  type     what
    0      float32  `ttft`: nanoseconds from sending to the first event with content or reasoning; NaN if there was none
    4      float32  `ttfo`: nanoseconds from sending to the first event of the answer, without reasoning; NaN if there was none
    8      float32  `last`: nanoseconds from sending to the last event with content; NaN if there was none
    12     float32  `load`: nanoseconds that the server took to load the model, as it says itself; NaN if it does not say
    16     uint32   `input`: the tokens of the prompt, as the server counts them; 0 if it does not say
    20     uint32   `output`: the tokens of the answer
    24     uint32   `cached`: the tokens of the prompt that a cache had, as the server says
    28     uint32   `events`: the events with content
    32     uint32   `reads`: at how many different moments they arrived
    36     uint8    `source`: where `output` comes from, a place in `SOURCES`
    37     uint8    `finish`: why the answer ended, a place in `FINISHES`
    38     uint8    `done`: 1 if the stream ended with the words that its protocol has for it
    39     uint8    nothing

The section `gaps` holds the nanoseconds between two events with content that follow each other, as float32: those of a request together,
`events - 1` of them. The section `texts` has one line of JSON for each request, with its prompt, if the recipe asks for it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TOKENS, GAPS, TEXTS = "tokens", "gaps", "texts"
SECTIONS = (TOKENS, GAPS, TEXTS)
RECORD = struct.Struct("<ffffIIIIIBBBB")
FIELDS = ("ttft", "ttfo", "last", "load", "input", "output", "cached", "events", "reads", "source", "finish", "done", "nothing")
_TYPES = ("<f4", "<f4", "<f4", "<f4", "<u4", "<u4", "<u4", "<u4", "<u4", "u1", "u1", "u1", "u1")
NAN = float("nan")
NOTHING = RECORD.pack(NAN, NAN, NAN, NAN, 0, 0, 0, 0, 0, 0, 0, 0, 0)

# Where the number of output tokens comes from. The order never changes, because records hold the place of a name.
SOURCES = ("", "usage", "token ids", "events")
UNKNOWN, USAGE, IDS, EVENTS = range(len(SOURCES))
# Why an answer ended, as the server says.
FINISHES = ("", "stop", "length", "other")


def token_record_type() -> np.dtype[np.void]:
    """Return the type of a record for numpy."""
    import numpy as np  # imported here: client processes write records without it

    return np.dtype(list(zip(FIELDS, _TYPES, strict=True)))
