"""Asks vLLM in a short-lived process for which device it is built, and lets torch compute there. It prints one line of JSON.

`python -m worker.generators.vllm_probe`: `versions`, `device` (`cpu`, `cuda` …), `why_not` (why the device does not answer, or empty), and
`error` if vLLM does not import.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from worker.engines.torch_probe import probe as probe_torch


def probe() -> dict[str, Any]:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # noqa: TID251 - no setting of ours
    torch = probe_torch()
    if torch["error"]:
        return {"error": torch["error"], "versions": {}}
    try:
        import vllm
        from vllm.platforms import current_platform

        device = str(current_platform.device_type)
    except Exception as error:  # noqa: BLE001 - a library that does not load raises what it likes, and that is the answer
        return {"error": f"vLLM does not import: {(str(error).strip() or type(error).__name__).splitlines()[0]}", "versions": {}}
    versions = {"vllm": vllm.__version__, "torch": torch["version"]}
    return {"versions": versions, "device": device, "error": "", "why_not": torch["devices"].get(device, "")}


def main(_arguments: list[str]) -> None:
    sys.stdout.write(json.dumps(probe()) + "\n")
