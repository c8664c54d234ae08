"""Implements the capabilities of CoreML. What a model file is decides which runtime loads it.

CoreML's own models (`.mlpackage`, `.mlmodel`) are run by coremltools, and an `.onnx` by ONNX Runtime with its provider of CoreML. A worker
may have one of the two only, so each is imported when it is needed. Both are imported before anything is measured (see the registry).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from shared.installation import how_to_install
from shared.model_packages import items_of
from worker.engines.base import Engine, Facts, InputSpec, Limits, Options

if TYPE_CHECKING:
    from worker.engines.base import Arrays

ONNX, COREML = "ONNX", "CoreML"
_GRAPH = 7  # the number of the graph in ONNX's ModelProto; CoreML's Model has no such field
_FIRST_KIND = 200  # from this number on, a field of CoreML's Model holds the network
_MOST_FIELDS = 1_000  # each of the two formats has fewer kinds of fields


class CoremlEngine:
    """Loads a model with the runtime that can read it, and passes every call on to that engine."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def load(self, model: Path, options: Options, capability: str) -> None:
        kind = format_of(model)
        library = "onnxruntime" if kind == ONNX else "coremltools"
        if find_spec(library) is None:
            raise EngineUnavailable(f"{capability} needs {library} for a model of {kind}: {how_to_install('coreml')}")
        self._engine = _onnx_engine() if kind == ONNX else _own_engine()
        self._engine.load(model, options, capability)

    @property
    def _loaded(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("no model is loaded")
        return self._engine

    def signature(self) -> list[InputSpec]:
        return self._loaded.signature()

    def limits(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Limits]:
        return self._loaded.limits(shapes)

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        return self._loaded.bind(inputs)

    def facts(self) -> Facts:
        return self._loaded.facts()

    def explain(self, error: Exception) -> JobError | None:
        return self._loaded.explain(error)

    def unload(self) -> None:
        if self._engine is not None:
            self._engine.unload()
            self._engine = None


def _onnx_engine() -> Engine:
    from worker.engines.onnx import OnnxEngine  # imports onnxruntime, which may not be installed

    return OnnxEngine()


def _own_engine() -> Engine:
    from worker.engines.coreml_model import CoremlModelEngine  # imports coremltools, which may not be installed

    return CoremlModelEngine()


def format_of(path: Path) -> str:
    """Return whether a file is a model of ONNX or of CoreML. Both are messages of protobuf, and differ in the fields that they have.

    Raises:
        ModelInvalid: It is neither.
    """
    if path.is_dir():
        raise ModelInvalid(f"{path.name} is a directory and no .mlpackage; give the model file")
    try:
        if items_of(path, path.name) is not None:
            return COREML
        fields = _fields(path)
    except OSError as error:
        raise ModelInvalid(f"{path.name} cannot be read: {error.strerror or error}") from error
    if fields is not None and _GRAPH in fields:
        return ONNX
    if fields is not None and any(number >= _FIRST_KIND for number in fields):
        return COREML
    if _is_ort(path):
        return ONNX
    raise ModelInvalid(f"{path.name} is no model of CoreML (.mlpackage, .mlmodel) and no ONNX model, or a truncated one")


def _is_ort(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ORTM"


def _fields(path: Path) -> set[int] | None:
    """Return the numbers of the fields of a message of protobuf, without those inside of them. None if the file is no such message."""
    found: set[int] = set()
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place, end = 0, len(data)
        while place < end:
            tag, place = _varint(data, place)
            number, wire = tag >> 3, tag & 7
            if wire == 2:
                size, place = _varint(data, place)
                place += size
            elif wire == 0:
                place = _varint(data, place)[1]
            elif wire in (1, 5):
                place += 8 if wire == 1 else 4
            else:
                return None
            if number == 0 or place > end:
                return None
            found.add(number)
            if len(found) > _MOST_FIELDS:
                return None
    return found


def _varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    """Return a number of protobuf and the place behind it. Beyond the end of the data, the place lies beyond it, too."""
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    return 0, len(data) + 1
