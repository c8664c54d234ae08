"""Sets the number of fuzz cases and their seed. The suite runs few cases with a fixed seed; `make fuzz` runs more with a new seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, seed, settings

SUITE_SEED = 20_260_301
SUITE_EXAMPLES = 8

SEED = int(os.environ.get("FUZZ_SEED") or SUITE_SEED)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or SUITE_EXAMPLES)  # examples for each call of the API
_MORE = max(1, EXAMPLES // SUITE_EXAMPLES)

Test = Callable[..., Any]


def tried(examples: int) -> Callable[[Test], Test]:
    """Return the settings of a property: `examples` cases in the suite, and EXAMPLES / SUITE_EXAMPLES times as many in `make fuzz`.

    There is no deadline, because a busy machine is not a defect. There is no database of examples, because the seed decides which cases are
    tried. Hypothesis also uses the constants that it finds in the project's modules, so a part of the suite may try other cases than the
    whole suite.
    """

    def apply(test: Test) -> Test:
        bounded = settings(max_examples=examples * _MORE, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        return seed(SEED)(bounded(test))

    return apply
