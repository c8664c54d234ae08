"""Reads an exported program (`.pt2`): its inputs, the sizes that it accepts, the tables that it indexes, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export.passes import move_to_device_pass
from torch.export.pt2_archive._package import load_pt2
from torch.utils._pytree import tree_unflatten

from shared.errors import ModelInvalid
from worker.engines.base import InputSpec, Limits
from worker.engines.torch_archive import HOW_TO_EXPORT, check_exported
from worker.engines.torch_types import name_of

# These operators pass an index on unchanged.
_PASS_ON = (
    *("aten._to_copy", "aten.to", "aten.view", "aten.reshape", "aten.clone", "aten.contiguous", "aten.unsqueeze", "aten.squeeze"),
    *("aten.slice", "aten.expand", "aten.alias", "aten.detach", "aten.flatten", "aten.transpose", "aten.permute"),
)
_TABLES = ("aten.embedding.default", "aten.embedding_bag.padding_idx", "aten._embedding_bag.default")
# Below this lower end torch itself sets no condition. It reports a lower end of 2 for any size that was not 0 or 1 in the example.
_NO_LOWER_END = 2


class ExportedProgram:
    """Holds one loaded program."""

    def __init__(self, path: Path) -> None:
        """Load the program of a file.

        Raises:
            ModelInvalid: The file has no program named `model`, or something in it that a worker does not open.
        """
        reader = torch._C.PyTorchFileReader(str(path))
        check_exported(reader.get_all_records(), reader.get_record, path.name)
        del reader
        programs = load_pt2(str(path)).exported_programs
        if set(programs) != {"model"}:
            raise ModelInvalid(
                f"{path.name} holds {len(programs)} programs ({', '.join(programs)[:200]}); export one model. {HOW_TO_EXPORT}"
            )
        self._program: Any = programs["model"]
        self._name = path.name
        self.module: Any = None

    def prepare(self, device: str, dtype: Any) -> None:
        """Make the module that is called, on a device, with its weights in a type. None keeps the types of the file."""
        if device != "cpu":
            self._program = move_to_device_pass(self._program, device)
        self.module = self._program.module()
        if dtype is not None:
            self.module = self.module.to(dtype)

    def parameters(self) -> Iterator[Any]:
        yield from self.module.parameters()
        yield from self.module.buffers()

    def signature(self) -> list[InputSpec]:
        return [InputSpec(node.name, name_of(value.dtype), _shape(value)) for node, value in self._inputs()]

    def limits(self) -> dict[str, Limits]:
        """Return the values that inputs may have which index a table, as far as they reach it unchanged."""
        found = {}
        for node, _ in self._inputs():
            rows = [count for user, source in _users(node) if (count := _rows(user, source)) is not None]
            if rows:
                found[node.name] = Limits(low=0, high=min(rows) - 1, because=f"it indexes a table of {min(rows)} rows")
        return found

    def call(self, tensors: Mapping[str, Any]) -> Callable[[], object]:
        """Return the call with these inputs.

        Raises:
            ModelInvalid: A size is outside the range that the program was exported for.
        """
        self._check_sizes(tensors)
        flat = [
            tensors[spec.arg.name] if hasattr(spec.arg, "name") and spec.arg.name in tensors else _constant(spec.arg)
            for spec in self._specs()
        ]
        arguments, named = tree_unflatten(flat, self._program.call_spec.in_spec)
        module = self.module
        return lambda: module(*arguments, **named)

    def warnings(self) -> list[str]:
        for node in self._program.graph.nodes:
            if str(node.target) == "aten.dropout.default" and len(node.args) > 2 and node.args[2] is True:
                return ["the model was exported in training mode, so its dropout is active: call model.eval() before the export"]
        return []

    def _specs(self) -> list[Any]:
        return [spec for spec in self._program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]

    def _inputs(self) -> Iterator[tuple[Any, Any]]:
        """Return each input that is a tensor: its node in the graph, and a tensor without data in its place.

        Raises:
            ModelInvalid: An input is a number whose value the program leaves open.
        """
        names = [spec.arg.name for spec in self._specs() if type(spec.arg).__name__ != "ConstantArgument"]
        nodes = {node.name: node for node in self._program.graph.nodes if node.op == "placeholder"}
        for name in names:
            value = nodes[name].meta["val"]
            if not isinstance(value, torch.Tensor):
                raise ModelInvalid(
                    f"{self._name} takes a number as its input {name!r}, and inputs of a measured model are tensors: "
                    "export it with a fixed number, or with a tensor"
                )
            yield nodes[name], value

    def _check_sizes(self, tensors: Mapping[str, Any]) -> None:
        ranges = {str(symbol): (vr.lower, vr.upper) for symbol, vr in self._program.range_constraints.items()}
        for spec in self.signature():
            for axis, part in enumerate(spec.shape or ()):
                if not isinstance(part, str) or part not in ranges:
                    continue
                size = int(tensors[spec.name].shape[axis])
                low, high = (int(end) if end.is_Integer else None for end in ranges[part])  # infinity is no Integer
                too_small = low is not None and low > _NO_LOWER_END and size < low
                if too_small or (high is not None and size > high):
                    raise ModelInvalid(
                        f"input {spec.name!r} has {size} for its dimension {part!r}, but {self._name} was exported for {low or 0} to "
                        f"{'any number' if high is None else high}: give options.dims: {{{part}: {low if too_small else high}}}"
                    )


def _shape(value: Any) -> tuple[int | str, ...]:
    return tuple(size if isinstance(size, int) else str(size.node.expr) for size in value.shape)


def _users(node: Any) -> Iterator[tuple[Any, Any]]:
    """Return each operator that gets the values of a node unchanged, with the node that hands them over."""
    waiting, seen = [node], {node}
    while waiting:
        source = waiting.pop()
        for user in source.users:
            yield user, source
            if str(user.target).startswith(_PASS_ON) and user not in seen:
                seen.add(user)
                waiting.append(user)


def _rows(user: Any, source: Any) -> int | None:
    """Return the number of rows of the table that an operator reads by the values of `source`. None if it does something else."""
    target, arguments = str(user.target), user.args
    if target in _TABLES and len(arguments) > 1 and arguments[1] is source:
        size = arguments[0].meta["val"].shape[0]
    elif target == "aten.index_select.default" and arguments[2] is source:
        size = arguments[0].meta["val"].shape[arguments[1]]
    else:
        return None
    return size if isinstance(size, int) else None


def _constant(argument: Any) -> Any:
    """Return the value of an input that was fixed by the export, such as None or a flag."""
    return argument.value
