"""Imports transformers and the libraries that it needs in a short-lived process. It prints one line of JSON.

`python -m worker.generators.transformers_probe`: `versions` of the libraries, and `error` if one of them does not import.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

LIBRARIES = ("transformers", "torch", "tokenizers", "safetensors")


def probe() -> dict[str, Any]:
    versions = {}
    for name in LIBRARIES:
        try:
            library = import_module(name)
            if name == "transformers":  # it imports what is behind a name when it is first asked for
                library.PreTrainedTokenizerFast  # noqa: B018 - asked for, so that it is imported
            versions[name] = str(library.__version__)
        except Exception as error:  # noqa: BLE001 - a library that does not load raises what it likes, and that is the answer
            return {"error": f"{name} does not import: {(str(error).strip() or type(error).__name__).splitlines()[0]}", "versions": {}}
    return {"error": "", "versions": versions}


def main(_arguments: list[str]) -> None:
    sys.stdout.write(json.dumps(probe()) + "\n")
