"""Maps the name of each kind of work to its description. A new kind needs one file beside this one, and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from shared.errors import nearest
from shared.kinds.base import Kind, Spec
from shared.kinds.fake import Fake
from shared.kinds.generation import Generation
from shared.kinds.hardware import Hardware
from shared.kinds.inference import Inference
from shared.kinds.load import Load

_ALL: tuple[Kind, ...] = (Inference(), Generation(), Hardware(), Load(), Fake())
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
DEFAULT_KIND = Inference.name  # of a workload whose JSON names no kind, as all did before there was a second one

if TYPE_CHECKING:
    AnySpec = Spec
else:
    AnySpec = Annotated[Union[tuple(kind.spec for kind in KINDS.values())], Field(discriminator="kind")]  # noqa: UP007 - made from a list


def kind_named(name: Any) -> Kind:
    """Return a kind of work.

    Raises:
        ValueError: this version does not know it.
    """
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"this version knows no kind of work {name!r:.100}: {nearest(str(name), list(KINDS))}")
    return kind
