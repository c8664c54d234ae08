"""Runs a model in an engine as a measured process does, but measures nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worker.engines.base import Options
from worker.engines.inputs import make_inputs
from worker.engines.registry import resolve


def run_once(path: Path, capability: str, options: Options) -> dict[str, Any]:
    """Return the facts as they are reported, with the arrays that were made and the output of the first call.

    Raises:
        JobError: the reason that the engine gives for an exception of its runtime.
    """
    engine = resolve(capability)()
    engine.load(path, options, capability)
    inputs = make_inputs(engine, options, path.parent)
    call = engine.bind(inputs.arrays)
    try:
        output = call()
        call()
    except Exception as error:
        reason = engine.explain(error)
        if reason is None:
            raise
        raise reason from error
    facts = engine.facts()
    engine.unload()
    report: dict[str, Any] = json.loads(json.dumps(inputs.report(facts.runtime) | {"software": facts.software}))
    return report | {"arrays": inputs.arrays, "output": output}
