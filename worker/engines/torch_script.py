"""Reads a TorchScript module (`.pt`, `.pts`). Such a file says little of its inputs: no shapes, and no types of elements.

The recipe gives the shapes (`options.shapes`). An input is `int64` if it indexes a table or the recipe gives it whole numbers, `bool` if
the recipe gives it booleans, and `float` otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from shared.errors import ModelInvalid
from worker.engines.base import InputSpec, Limits, Options


class ScriptModule:
    """Holds one loaded module."""

    def __init__(self, path: Path, options: Options) -> None:
        self.module: Any = torch.jit.load(str(path), map_location="cpu").eval()
        self._name, self._options = path.name, options
        self._tables: dict[str, int] | None = None

    def prepare(self, device: str, dtype: Any) -> None:
        """Put the module on a device, with its weights in a type. None keeps the types of the file."""
        self.module = self.module.to(device)
        if dtype is not None:
            self.module = self.module.to(dtype)

    def parameters(self) -> Iterator[Any]:
        yield from self.module.parameters()
        yield from self.module.buffers()

    def signature(self) -> list[InputSpec]:
        """Return the inputs that are tensors. An input with a default value is left to it.

        Raises:
            ModelInvalid: An input without a default value is no tensor.
        """
        found = []
        for argument in self._arguments():
            if argument.has_default_value():
                break
            if str(argument.type) not in ("Tensor", "Optional[Tensor]"):
                raise ModelInvalid(
                    f"{self._name} takes {str(argument.type)!r:.100} as its input {argument.name!r}, and inputs of a measured model are "
                    "tensors: export it with a fixed value, or with torch.export"
                )
            found.append(InputSpec(argument.name, self._element_type(argument.name), None))
        return found

    def limits(self) -> dict[str, Limits]:
        return {name: Limits(low=0, high=rows - 1, because=f"it indexes a table of {rows} rows") for name, rows in self._indexed().items()}

    def call(self, tensors: Mapping[str, Any]) -> Callable[[], object]:
        arguments, module = [tensors[spec.name] for spec in self.signature()], self.module
        return lambda: module(*arguments)

    def warnings(self) -> list[str]:
        return []

    def _arguments(self) -> list[Any]:
        if not hasattr(self.module, "forward"):
            raise ModelInvalid(
                f"{self._name} has no method `forward`, which is what a worker calls: export the module so that its inference is `forward`"
            )
        return list(self.module.forward.schema.arguments)[1:]  # without `self`

    def _element_type(self, name: str) -> str:
        if name in self._indexed():
            return "int64"
        value = (self._options.values or {}).get(name)
        first: Any = value.get("array") if isinstance(value, Mapping) else value
        while isinstance(first, list | tuple) and first:
            first = first[0]
        return "bool" if isinstance(first, bool) else "int64" if isinstance(first, int) else "float"

    def _indexed(self) -> dict[str, int]:
        """Return the number of rows of the table that an input indexes, for each input that goes straight into an embedding."""
        if self._tables is None:
            graph = self.module.inlined_graph
            inputs = list(graph.inputs())[1:]
            names = {value.debugName(): argument.name for value, argument in zip(inputs, self._arguments(), strict=False)}
            self._tables = {}
            for node in graph.findAllNodes("aten::embedding"):
                weight, indices = list(node.inputs())[:2]
                name = names.get(indices.debugName())
                rows = self._rows(weight)
                if name is not None and rows is not None:
                    self._tables[name] = min(rows, self._tables.get(name, rows))
        return self._tables

    def _rows(self, weight: Any) -> int | None:
        """Return the rows of a table that is an attribute of the module or of a module within it."""
        path: list[str] = []
        node = weight.node()
        while node.kind() == "prim::GetAttr":
            path.insert(0, node.s("name"))
            node = next(iter(node.inputs())).node()
        found: Any = self.module
        for name in path:
            found = getattr(found, name)
        return int(found.shape[0]) if isinstance(found, torch.Tensor) else None
