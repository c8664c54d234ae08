"""Lets CoreML compute on each of its devices in a short-lived process. It prints one line of JSON.

`python -m worker.engines.coreml_probe`: `error` if coremltools does not import, and for each capability why it does not answer (empty if it
does). With a path, it only writes a tiny model there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from worker.engines.coreml_units import UNITS


def write_model(coremltools: Any, path: str) -> None:
    """Write a network of one layer: y = x × 2, four numbers."""
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    shape = [("x", datatypes.Array(4))]
    builder = NeuralNetworkBuilder(shape, [("y", datatypes.Array(4))], disable_rank5_shape_mapping=True)
    builder.add_elementwise("double", input_names=["x"], output_name="y", mode="MULTIPLY", alpha=2.0)
    coremltools.utils.save_spec(builder.spec, path)


def probe(coremltools: Any, folder: Path) -> dict[str, str]:
    path = str(folder / "probe.mlmodel")
    write_model(coremltools, path)
    return {capability: _why_not(coremltools, path, unit) for capability, unit in UNITS.items()}


def _why_not(coremltools: Any, path: str, unit: str) -> str:
    """Return why a product cannot be computed with a compute unit, or an empty text if it can."""
    import numpy as np

    try:
        model = coremltools.models.MLModel(path, compute_units=getattr(coremltools.ComputeUnit, unit))
        answer = float(np.ravel(model.predict({"x": np.full(4, 4.0, dtype=np.float32)})["y"])[0])
    except Exception as error:  # noqa: BLE001 - any error of the runtime is the answer of this process
        return f"CoreML cannot compute with {unit}: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
    return "" if answer == 8.0 else f"CoreML computed {answer} with {unit} where 8 is right"


def main(arguments: list[str]) -> None:
    try:
        import coremltools
    except Exception as error:  # noqa: BLE001 - a library that does not load raises what it likes, and that is the answer
        sys.stdout.write(json.dumps({"error": f"coremltools does not import: {error}", "units": {}}) + "\n")
        return
    if arguments:
        write_model(coremltools, arguments[0])
        sys.stdout.write(json.dumps({"error": "", "units": {}}) + "\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        units = probe(coremltools, Path(folder))
    sys.stdout.write(json.dumps({"error": "", "units": units}) + "\n")
