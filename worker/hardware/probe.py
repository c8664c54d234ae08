"""Opens one ONNX Runtime session in a short-lived process, and reports which provider really took the graph.

It prints one line of JSON. It is a separate process, so that a provider's libraries, memory and crashes do not affect the worker.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

# This graph has MatMul and Relu on a 2 x 2 float input (opset 13, IR 7): a provider must load its math libraries to run it.
PROBE_MODEL = base64.b64decode(
    "CAcSCWZsZWV0bWFyazpSChEKAXgKAXgSAW0iBk1hdE11bAoMCgFtEgF5IgRSZWx1EgVwcm9iZVoTCgF4Eg4KDAgBEggKAggCCgIIAmITCgF5Eg4KDAgBEggKAggCCgIIAkIECgAQDQ=="
)


def probe(provider: str) -> dict[str, Any]:
    """Open and run the graph on `provider`.

    Returns:
        `version`, `available`, `got` (the providers of the session) and `error` (empty if `provider` ran the graph).
    """
    import numpy as np
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    found: dict[str, Any] = {"version": onnxruntime.__version__, "available": onnxruntime.get_available_providers(), "got": [], "error": ""}
    if provider not in found["available"]:
        found["error"] = f"{provider} is not part of the installed onnxruntime {onnxruntime.__version__}"
        return found
    try:
        session = onnxruntime.InferenceSession(PROBE_MODEL, providers=[provider])
        found["got"] = session.get_providers()
        if provider in found["got"]:
            (answer,) = session.run(None, {"x": np.full((2, 2), 2.0, dtype=np.float32)})
            if float(answer[0][0]) != 8.0:
                found["error"] = f"{provider} computed {answer[0][0]} where 8 is right"
        else:
            found["error"] = f"{provider} opened no session; the runtime fell back to {', '.join(found['got'])}"
    except Exception as error:  # noqa: BLE001 - any error of the runtime is the answer of this process
        found["error"] = (str(error).strip() or type(error).__name__).splitlines()[0]
    return found


def main(arguments: list[str]) -> None:
    sys.stdout.write(json.dumps(probe(arguments[0])) + "\n")
