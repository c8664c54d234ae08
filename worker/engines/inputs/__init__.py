"""Creates the inputs of a model from its signature: the type, shape and values of each input.

The recipe decides first, then the model's graph, then a documented rule (docs/reference/recipes.md). What was used is recorded.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.random  # numpy imports it on first use, in 20 ms; so the guard imports it once, before it forks

from shared.errors import ModelInvalid, nearest
from worker.engines.base import Engine, InputSpec, Limits, Options
from worker.engines.inputs.batch import yaml_key
from worker.engines.inputs.dims import Dims, resolve
from worker.engines.inputs.given import given_values
from worker.engines.inputs.types import INTEGERS, Array, check_type, convert
from worker.engines.inputs.values import is_unstated_choice, length_beside, made_values

_NO_LIMITS = Limits()


@dataclass(frozen=True)
class Inputs:
    """Holds everything that the model is called with. `filled` says for each input, in a short sentence, how its values were made."""

    arrays: dict[str, Array]
    filled: dict[str, str]
    dims: Dims
    warnings: list[str]

    def report(self, runtime: dict[str, Any]) -> dict[str, Any]:
        """Return the runtime's facts, extended by what was bound: sizes, values and their SHA-256, and warnings."""
        described = [entry | self._described(entry["name"]) for entry in runtime.get("inputs", [])]
        return runtime | {
            "inputs": described,
            "batch_size": self.dims.batch_size,
            "batch_symbol": self.dims.batch_symbol,  # empty for a leading dimension without a name, null for none
            "dims": self.dims.sizes,
            "assumed_dims": self.dims.assumed,
            "warnings": [*runtime.get("warnings", []), *self.warnings],
        }

    def _described(self, name: str) -> dict[str, Any]:
        if name not in self.arrays:
            return {}
        array = self.arrays[name]
        return {"bound_shape": list(array.shape), "values": self.filled[name], "values_sha256": digest(array)}


def make_inputs(engine: Engine, options: Options, folder: Path) -> Inputs:
    """Return one array for each input of a loaded model. The same options always give the same values.

    Args:
        folder: The folder of the model and of files with values.

    Raises:
        ModelInvalid: The options do not fit the model, or no values can be made for the type of an input.
    """
    signature = engine.signature()
    for spec in signature:
        check_type(spec)
    dims = resolve(signature, options)
    stated = options.values or {}
    names = [spec.name for spec in signature]
    for name in stated:
        if name not in names:
            raise ModelInvalid(f"options.values names {name!r}, which is no input of the model: {nearest(name, names)}")
    limits = engine.limits(dims.shapes)
    inputs = Inputs({}, {}, dims, list(dims.warnings))
    for spec in signature:
        shape, known = dims.shapes[spec.name], limits.get(spec.name, _NO_LIMITS)
        # Each input has its own random stream, so that stating the values of one input does not change another.
        random = np.random.default_rng([options.seed, zlib.crc32(spec.name.encode())])
        if spec.name in stated:
            array, filled = _stated(spec, stated[spec.name], shape, known, random, folder)
        else:
            length = length_beside(spec.name, signature, dims.shapes, dims.batch_symbol)
            try:
                array, filled = made_values(spec, shape, known, length, random)
            except Exception as error:  # limits that nothing fits are a defect of ours; the runtime may run without them
                if known == _NO_LIMITS:
                    raise
                array, filled = made_values(spec, shape, _NO_LIMITS, length, random)
                inputs.warnings.append(
                    f"input {spec.name!r} was filled without what the graph says of it, which no value fits "
                    f"({type(error).__name__}: {error}); state it: options.values: {{{spec.name}: …}}"
                )
            if known.steers or is_unstated_choice(spec, shape):
                inputs.warnings.append(_unstated(spec, array, known))
        inputs.arrays[spec.name], inputs.filled[spec.name] = np.asarray(array), filled  # numpy may return a plain number for a scalar
    return inputs


def digest(array: Array) -> str:
    """Return the SHA-256 over the type, the shape and the elements."""
    head = f"{array.dtype.str}{list(array.shape)}".encode()
    body = json.dumps(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
    return hashlib.sha256(head + body).hexdigest()


def _stated(
    spec: InputSpec, value: Any, shape: tuple[int, ...], limits: Limits, random: np.random.Generator, folder: Path
) -> tuple[Array, str]:
    drawn, filled = given_values(spec, value, shape, random, folder)
    where = f"options.values.{spec.name}"
    array = convert(drawn, spec.element_type, where)
    if spec.element_type in INTEGERS and array.size:
        low, high = int(array.min()), int(array.max())
        too_high, too_low = limits.high is not None and high > limits.high, limits.low is not None and low < limits.low
        if limits.because and (too_high or too_low):
            raise ModelInvalid(
                f"{where} has values from {low} to {high}, but {limits.because}: give [{_least(limits)}, {limits.high}] or values within it"
                + ("" if limits.rule is None else ", or larger sizes (options.dims)")
            )
    return array, filled


def _least(limits: Limits) -> int:
    return max(0, limits.low or 0)


def _unstated(spec: InputSpec, array: Array, limits: Limits) -> str:
    used = array.ravel()[:1].tolist()[0] if array.size else None
    shown = str(used).lower() if isinstance(used, bool) else array.tolist() if array.size > 1 else used
    what = f"it {limits.steers}" if limits.steers else "it may steer the model"
    return f"input {spec.name!r} was {shown} by rule, and {what}; state it: options.values: {{{yaml_key(spec.name)}: …}}"
