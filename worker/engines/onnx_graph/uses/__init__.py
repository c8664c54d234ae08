"""Describes what each operator requires of its inputs, such as an index below a table's rows or a length within a sequence.

There is one function for each family of operators. `Use` is what a node requires of one value. `limits` derives from it what the
model's inputs may hold.
"""

from __future__ import annotations

from collections.abc import Iterator

from worker.engines.onnx_graph.uses import control, indices, sizes
from worker.engines.onnx_graph.uses.base import Call, Rule, Use, UseRule

_RULES: dict[str, UseRule] = {**indices.RULES, **sizes.RULES, **control.RULES}


def uses_of(call: Call) -> Iterator[Use]:
    """Yield what a node requires of its inputs. Yields nothing for an operator whose inputs may hold any values."""
    rule = _RULES.get(call.node.op)
    if rule is not None:
        yield from rule(call)


__all__ = ["Call", "Rule", "Use", "uses_of"]
