"""Finds `hf://` addresses of models that no hub has: what they must name depends on the kind of work."""

from __future__ import annotations

from collections.abc import Iterator

from shared.addresses import shown_address
from shared.hub import SCHEME, require_hub_address
from shared.kinds.registry import KINDS
from shared.recipes.schema import ModelEntry, Recipe

Location = tuple[str | int, ...]


def wrong_hub_addresses(recipe: Recipe) -> Iterator[tuple[Location, str]]:
    """Yield the place of each model with such an address, and what is wrong with it."""
    snapshots = KINDS[recipe.kind].spec.takes_snapshots
    for index, entry in enumerate(recipe.entries()):
        if not entry.model.lower().startswith(SCHEME):
            continue
        try:
            require_hub_address(entry.model, snapshots=snapshots)
        except ValueError as error:
            yield _place(recipe, index), f"{shown_address(entry.model)!r:.300}: {error}"


def _place(recipe: Recipe, index: int) -> Location:
    if recipe.models is None:
        return ("model",)
    return ("models", index, "model") if isinstance(recipe.models[index], ModelEntry) else ("models", index)
