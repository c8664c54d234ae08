"""Explains ONNX Runtime's messages about a failed call: which input is at fault, and what to write in the recipe.

The patterns match the messages of versions 1.20 to 1.31.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.engines.base import InputSpec, Limits

_NODE = re.compile(r"while running (?P<operator>\S+) node\. Name:'(?P<name>[^']*)'")
_INDEX = re.compile(
    r"idx=(?P<index>-?\d+) (?:must be within the inclusive range \[-?\d+,(?P<last>-?\d+)\]|data_dim=(?P<rows>\d+))"
    r"|invalid ind(?:ex|ice) found, ind(?:ex|ice) = (?P<other>-?\d+)|Out of range value in index tensor"
)
_IMAGE = re.compile(
    r"batch_indices value (?P<image>-?\d+) at index \d+ is out of range \[0, (?P<images>\d+)\)|roi_batch_id < batch_size was false"
)
_PLACE = re.compile(r"Invalid sequence index \((?P<place>-?\d+)\) specified for sequence of size \((?P<size>\d+)\)")
_TOP_K = re.compile(r"k argument \[(?P<k>-?\d+)\] should not be greater than specified axis dim value \[(?P<size>\d+)\]")
_LENGTH = re.compile(r"Invalid value/s in sequence_lens.*?seq_length=(?P<steps>\d+)|Invalid sequence length: -?\d+.*?\[\d+,(?P<most>\d+)\]")
_CATEGORY = re.compile(r"Unknown Category and zeros ?= ?0")
_SHAPES = re.compile(
    r"shape|dimension|out of data bounds|broadcast|rank|channels|\baxis\b|\baxes\b|\bmismatch|must match|sizes?\b.*(?:equal|was false)",
    re.IGNORECASE,
)
_WHOLE = ("int", "uint")


@dataclass(frozen=True)
class Called:
    """Holds an input, the shape that it was called with, and the values that the graph allows for it."""

    spec: InputSpec
    bound: Sequence[int] | None = None
    limits: Limits | None = None


Inputs = Mapping[str, Called]


def explain_call(text: str, model: str, inputs: Inputs) -> str | None:
    """Return what a failed call means, without the runtime's own words. None for an unknown message."""
    node = _NODE.search(text)
    where = f"its {node['operator']} node{_named(node['name'])}" if node else "one of its nodes"
    if found := _INDEX.search(text):
        return f"{model} cannot take these values: {where} {_index(found, inputs)}"
    if found := _IMAGE.search(text):
        last = int(found["images"]) - 1 if found["images"] else None
        which = (
            f"image {found['image']} of a batch whose last one is {last}" if last is not None else "an image that its batch does not have"
        )
        names = _whole_numbers(inputs) or list(inputs)[1:]
        mend = f"give options.values: {{{names[0]}: [0, {'…' if last is None else last}]}}" if names else "the model itself gives it"
        return f"{model} cannot take these values: {where} asks for {which}; {mend}{_or_larger(inputs)}"
    if found := _PLACE.search(text):
        names = _steering(inputs, "sequence") or _whole_numbers(inputs)
        mend = f"give options.values: {{{names[0]}: [0, {int(found['size']) - 1}]}}" if names else "the model itself gives it"
        return f"{model} cannot take these values: {where} asks for place {found['place']} of a sequence of {found['size']}; {mend}"
    if found := _TOP_K.search(text):
        names = _steering(inputs, "TopK") or _whole_numbers(inputs)
        mend = f"give options.values: {{{names[0]}: {found['size']}}} or less" if names else "the model itself asks for it"
        what = f"asks for the {found['k']} greatest of {found['size']} values"
        return f"{model} cannot take these values: {where} {what}; {mend}{_or_larger(inputs)}"
    if found := _LENGTH.search(text):
        steps = found["steps"] or found["most"]
        names = [name for name, called in inputs.items() if called.limits and "length of a sequence" in called.limits.because]
        names = names or _whole_numbers(inputs)
        mend = f"give options.values: {{{names[0]}: [1, {steps}]}}" if names else "the model itself gives it"
        return (
            f"{model} cannot take these values: {where} is given a length beyond its sequence of {steps} steps; {mend}{_or_larger(inputs)}"
        )
    if _CATEGORY.search(text):
        return (
            f"{model} cannot take these values: {where} is given a category that it does not know, and refuses those; "
            f"give categories of its own, options.values: {{{_categories(inputs)}}}"
        )
    if node and _SHAPES.search(text):
        return f"{model} cannot be run with these shapes, {where} refuses them: {_to_give(inputs)}"
    return None


def _categories(inputs: Inputs) -> str:
    known = {name: _words(called.limits) for name, called in inputs.items() if called.limits is not None}
    shown = [f"{name}: {_choice(words)}" for name, words in known.items() if words]
    if shown:
        return ", ".join(shown)
    names = [name for name, called in inputs.items() if called.spec.element_type == "string"] or _whole_numbers(inputs) or ["input"]
    return f"{names[0]}: [first, second]"


def _words(limits: Limits) -> list[str | int]:
    return [word for part in (limits, *limits.columns.values()) for word in part.words]


def _choice(words: Sequence[str | int]) -> str:
    """Return a few texts to choose from, or a range for numbers, because two numbers in a recipe mean a range."""
    numbers = [word for word in words if isinstance(word, int)]
    if numbers:
        return f"[{min(numbers)}, {max(numbers)}]"
    return f"[{', '.join(str(word) for word in words[:4])}{', …' if len(words) > 4 else ''}]"


def _named(name: str) -> str:
    return f" {name!r}" if name else ""


def _index(found: re.Match[str], inputs: Inputs) -> str:
    index = found["index"] or found["other"]
    last = int(found["last"]) if found["last"] else int(found["rows"]) - 1 if found["rows"] else None
    what = f"looks up place {index}" if index else "looks up a place"
    what += f" of a table whose last place is {last}" if last is not None else " that its table does not have"
    names = _whole_numbers(inputs)
    if not names:
        return f"{what}. No input holds whole numbers, so the place comes from a size{_or_larger(inputs, 'smaller').replace(', or', ':')}"
    high = last if last is not None else "…"
    ranges = ", ".join(f"{name}: [0, {high}]" for name in names[:4])
    return f"{what}; give options.values: {{{ranges}}}{_or_larger(inputs, 'smaller')}"


def _whole_numbers(inputs: Inputs) -> list[str]:
    """Return the inputs of whole numbers that may be at fault.

    An input whose upper limit is known from the graph is not at fault. Such inputs are returned only if there are no others.
    """
    names = [name for name, called in inputs.items() if called.spec.element_type.startswith(_WHOLE)]
    open_ones = [name for name in names if (limits := inputs[name].limits) is None or limits.high is None]
    return open_ones or names


def _steering(inputs: Inputs, word: str) -> list[str]:
    return [name for name, called in inputs.items() if called.limits is not None and word in called.limits.steers]


def _free(inputs: Inputs) -> dict[str, Called]:
    return {name: called for name, called in inputs.items() if called.spec.shape is not None and _open(called.spec)}


def _open(spec: InputSpec) -> bool:
    return any(not isinstance(part, int) or part < 0 for part in spec.shape or ())


def _sizes_to_give(free: Mapping[str, Called]) -> str:
    symbols = dict.fromkeys(part for called in free.values() for part in called.spec.shape or () if isinstance(part, str) and part)
    if symbols:
        return f"options.dims: {{{', '.join(f'{symbol}: …' for symbol in symbols)}}}"
    wanted = ", ".join(
        f"{name}: [{', '.join(str(part) if isinstance(part, int) and part >= 0 else '?' for part in called.spec.shape or ())}]"
        for name, called in free.items()
    )
    return f"options.shapes: {{{wanted}}}"


def _or_larger(inputs: Inputs, how: str = "larger") -> str:
    free = _free(inputs)
    return f", or {how} sizes: {_sizes_to_give(free)}" if free else ""


def _to_give(inputs: Inputs) -> str:
    free = _free(inputs)
    steering = [name for name, called in inputs.items() if called.limits is not None and called.limits.steers]
    if not free and not steering:
        if numbers := _whole_numbers(inputs):
            stated = ", ".join(f"{name}: …" for name in numbers)
            return f"its inputs have no free dimension; if their numbers decide over shapes, state them, options.values: {{{stated}}}"
        return "its inputs have no free dimension, so the model itself is at fault; export it again"
    called_with = ", ".join(f"{name} was {list(called.bound or ())}" for name, called in free.items())
    advice = [f"{called_with}; give what its free dimensions need, {_sizes_to_give(free)}"] if free else []
    if steering:
        stated = ", ".join(f"{name}: …" for name in steering)
        advice.append(f"state what steers the model, options.values: {{{stated}}}")
    return ", and ".join(advice)
