"""Writes `outputs.jsonl`: what the models of a campaign wrote, with the job and the scores of each answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.whole_files import whole_file
from shared.ids import number_of
from shared.written_texts import NAME, lines_of, outputs_in

log = logging.getLogger(__name__)

FOLDER, SCORES = "outputs", "scores"  # in the folder of a campaign; each has a file for each job


def write_outputs(folder: Path) -> Path | None:
    """Write the file into the folder of a campaign, and return its path. Return None if no job sent answers.

    A job whose answers cannot be read is left out, and the log says so.

    Raises:
        OSError: the folder cannot be written.
    """
    found = sorted((folder / FOLDER).glob("*.jsonl"), key=lambda path: number_of(path.stem))
    if not found:
        return None
    target = folder / NAME
    with whole_file(target) as file:
        for path in found:
            try:
                file.write(lines_of(_joined(path, folder / SCORES / path.name)))
            except ValueError as error:
                log.warning("the answers of %s are left out of %s: %s", path.stem, target, error)
    return target


def _joined(answers: Path, scores: Path) -> Iterator[dict[str, Any]]:
    outputs = outputs_in(answers.read_bytes())
    judged = [json.loads(line) for line in scores.read_bytes().splitlines()] if scores.is_file() else []
    for number, one in enumerate(outputs):
        score = judged[number] if len(judged) == len(outputs) else {}
        yield {"job_id": answers.stem, **one, **score}
