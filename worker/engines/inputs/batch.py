"""Finds the batch dimension of a model: the one that `options.batch_size` sets.

A symbol is the batch if its name says so, or if it is the only free leading dimension of the inputs. Any less clear case is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from shared.errors import ModelInvalid
from worker.engines.base import InputSpec

UNNAMED = ""  # stands for all leading dimensions without a name, as if they were one symbol
_BATCH_WORDS = frozenset({"batch", "batches", "batchsize", "nbatch", "bsz"})
_SHORT_NAMES = frozenset({"n", "b", "bs", "nb"})
# fmt: off
_SEQUENCE_WORDS = frozenset([
    "seq", "sequence", "time", "timesteps", "timestep", "steps", "step", "length", "len", "frames", "frame", "tokens", "token",
    "samples", "words", "chars", "phonemes", "past",
])
# fmt: on
_SEQUENCE_LETTERS = frozenset({"t", "s", "l"})
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


def words(symbol: str) -> set[str]:
    """Return the words of a symbol in lower case: `past_sequenceLength2` gives past, sequence, length and 2."""
    return {word.lower() for word in _WORDS.findall(symbol)}


def is_sequence(symbol: str) -> bool:
    """Return whether a symbol's name says that it counts the steps of a sequence."""
    found = words(symbol)
    joined = symbol.lower()
    return bool(found & _SEQUENCE_WORDS) or joined in _SEQUENCE_LETTERS or "seq" in joined or "length" in joined


def find_batch(specs: Sequence[InputSpec], symbols: Sequence[str]) -> str | None:
    """Return the symbol of the batch, `UNNAMED` for leading dimensions without a name, or None if there is none or it is unclear.

    Args:
        symbols: The names that stand for a size. A calculation such as `batch * heads` is not one of them.
    """
    named = [symbol for symbol in symbols if words(symbol) & _BATCH_WORDS]
    if not named:
        named = [symbol for symbol in symbols if symbol.lower() in _SHORT_NAMES and _is_outermost(symbol, specs)]
    if named:
        exact = [symbol for symbol in named if symbol.lower() in ("batch", "batch_size", "batchsize")]
        chosen = exact or named
        return chosen[0] if len(chosen) == 1 and not _other_batches(specs, symbols, chosen[0]) else None
    leading = {_name(spec.shape[0]) for spec in specs if spec.shape and not _is_fixed(spec.shape[0])}
    if len(leading) != 1:
        return None
    (symbol,) = leading
    return symbol if symbol == UNNAMED or (symbol in symbols and not is_sequence(symbol)) else None


def _other_batches(specs: Sequence[InputSpec], symbols: Sequence[str], chosen: str) -> list[str]:
    """Return the symbols that look like the batch of an input without the chosen one: `N` of the images, beside texts of `batch`."""
    alone = [spec.shape for spec in specs if spec.shape and chosen not in spec.shape]
    led = [(shape[0], len(shape)) for shape in alone if isinstance(shape[0], str) and shape[0] in symbols]
    # The N of [N, 4] counts boxes; the N of [N, 3, 64, 64] is a batch.
    return [str(part) for part, rank in led if words(str(part)) & _BATCH_WORDS or (rank > 2 and str(part).lower() in _SHORT_NAMES)]


def check_batch_size(specs: Sequence[InputSpec], symbols: Sequence[str], batch_size: int) -> None:
    """Check a `batch_size` that no symbol can take: it is accepted if it is the fixed size of the model's leading dimensions.

    Raises:
        ModelInvalid: The leading dimensions are fixed at another size, or it is not clear which dimension is the batch.
    """
    free = {_name(spec.shape[0]): spec for spec in specs if spec.shape and not _is_fixed(spec.shape[0])}
    if free:
        shown = "; ".join(f"{spec.name} is {shown_shape(spec)}" for spec in list(specs)[:8])
        raise ModelInvalid(
            f"options.batch_size is {batch_size}, but it is not clear which dimension is the batch: {shown}. "
            f"Name it instead, for example {_example(free, symbols, batch_size)}"
        )
    ranked = [spec for spec in specs if spec.shape is not None and len(spec.shape) >= 2] or [spec for spec in specs if spec.shape]
    for spec in ranked:
        if spec.shape and spec.shape[0] != batch_size:
            raise ModelInvalid(
                f"options.batch_size is {batch_size}, but the model's input {spec.name!r} is {shown_shape(spec)}: its batch is fixed at "
                f"{spec.shape[0]}. Leave batch_size out, or export the model with a free batch dimension"
            )
    if ranked and batch_size != 1 and fixed_batch(ranked) is None and not any(len(spec.shape or ()) != 3 for spec in ranked):
        raise ModelInvalid(
            f"options.batch_size is {batch_size}, but {ranked[0].name!r} is {shown_shape(ranked[0])}, whose first size is fixed and may "
            "as well be its channels or its steps. Leave batch_size out"
        )
    if not ranked:
        raise ModelInvalid(f"options.batch_size is {batch_size}, but no input of the model has a batch dimension; leave batch_size out")


def _example(leading: Mapping[str, InputSpec], symbols: Sequence[str], batch_size: int) -> str:
    """Return what to write in place of `batch_size`: a size for each symbol that leads an input and is no sequence, as far as there are."""
    choices = [symbol for symbol in leading if symbol in symbols and not is_sequence(symbol)]
    choices = choices or [symbol for symbol in symbols if not is_sequence(symbol)][:1] or list(symbols[:1])
    if not choices:
        return f"options.shapes: {{{next(iter(leading.values())).name}: […]}}"
    return f"options.dims: {{{', '.join(f'{symbol}: {batch_size}' for symbol in choices)}}}"


def fixed_batch(specs: Sequence[InputSpec]) -> int | None:
    """Return the fixed leading size that all inputs share, if it is clearly a batch. Otherwise return None.

    In an input of three dimensions the leading one may also be time, so a model with such an input gives None.
    """
    sizes = {spec.shape[0] for spec in specs if spec.shape is not None and len(spec.shape) >= 2}
    unclear = any(spec.shape is not None and len(spec.shape) == 3 for spec in specs)
    if len(sizes) != 1 or unclear:
        return None
    (size,) = sizes
    return size if isinstance(size, int) and _is_fixed(size) else None


def shown_shape(spec: InputSpec) -> str:
    """Return a shape as the model states it, with `?` for a dimension without a name."""
    if spec.shape is None:
        return "of unknown shape"
    return f"[{', '.join('?' if part is None or (isinstance(part, int) and part < 0) else str(part) for part in spec.shape)}]"


def _is_outermost(symbol: str, specs: Sequence[InputSpec]) -> bool:
    """Return whether only free dimensions precede the symbol. In [1, N, 4] the N counts boxes; in [T, N, 4] it is the batch."""
    for spec in specs:
        shape = spec.shape or ()
        if symbol in shape and any(_is_fixed(part) for part in shape[: shape.index(symbol)]):
            return False
    return True


def _is_fixed(part: int | str | None) -> bool:
    return isinstance(part, int) and part >= 0


def is_unnamed(part: int | str | None) -> bool:
    return not _is_fixed(part) and _name(part) == UNNAMED


def _name(part: int | str | None) -> str:
    return part if isinstance(part, str) else UNNAMED
