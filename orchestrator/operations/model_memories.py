"""Reads from uploaded snapshots how much memory their models take."""

from __future__ import annotations

import json
from collections.abc import Sequence

from orchestrator.domain.model_memory import ModelMemory, model_memory
from orchestrator.operations.context import Context
from orchestrator.operations.models import path_of
from shared.inputs import ModelRef
from shared.kinds.registry import KINDS
from shared.recipes.cells import Cell
from shared.snapshots import WEIGHTS, is_snapshot
from shared.sources import UPLOAD


def memories_of(ctx: Context, cells: Sequence[Cell], refs: Sequence[ModelRef]) -> list[ModelMemory | None]:
    """Return what is known of the memory of each model. A model that no worker has fetched yet is known only if it was uploaded."""
    wanted = {cell.entry for cell in cells if cell.entry is not None and KINDS[cell.kind].spec.takes_snapshots}
    return [memory_of_upload(ctx, ref) if index in wanted else None for index, ref in enumerate(refs)]


def memory_of_upload(ctx: Context, ref: ModelRef) -> ModelMemory | None:
    """Return what is known of the memory of an uploaded snapshot, or None for another model."""
    if not ref.source.startswith(UPLOAD) or ref.sha256 is None:
        return None
    path = path_of(ctx, ref.sha256)
    if not path.is_file() or not is_snapshot(path):
        return None
    weights = sum(companion.size for companion in ref.companions if companion.name.endswith(WEIGHTS))
    return model_memory(json.loads(path.read_bytes()), weights)
