"""Says when Python's garbage collector works: not while a process imports its modules, and never on what is there when it begins to serve.

The collector looks for groups of objects that only refer to each other. Objects that nothing refers to are freed at once without it. A
started process of the control plane has half a million objects that live until it ends, and each full look at them takes 0.1 s.
"""

from __future__ import annotations

import gc

# How many more objects there must be than before until the collector looks at the newest ones. A batch of 500 results makes about 100 000
# objects, almost none of which is in a cycle. Python's own value, 700, took 1 300 looks for 15 batches, and moved living results to the
# oldest generation.
NEW_OBJECTS = 50_000


def pause() -> None:
    """Stop the collector until `settle` is called. Imports make objects that stay, so looking for garbage among them finds none."""
    gc.disable()


def settle() -> None:
    """Start the collector, and keep it from looking again at any object that there is now. Call this before the long part of a process.

    An object that is there now is still freed when nothing refers to it. Only a cycle of such objects would stay.
    """
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
    gc.enable()
