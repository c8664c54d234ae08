"""Writes `outputs.jsonl`: what the models of a campaign wrote, with the job and the scores of each answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.reports.joined_files import join_files
from shared.written_texts import NAME, lines_of, outputs_in

FOLDER, SCORES = "outputs", "scores"  # in the folder of a campaign; each has a file for each job


def write_outputs(folder: Path) -> Path | None:
    """Write the file into the folder of a campaign, and return its path. Return None if no job sent answers.

    A job whose answers cannot be read is left out, and the log says so.

    Raises:
        OSError: the folder cannot be written.
    """
    scores = folder / SCORES
    files = (folder / FOLDER).glob("*.jsonl")
    return join_files(files, folder / NAME, lambda path: [lines_of(_joined(path, scores / path.name))], "answers")


def _joined(answers: Path, scores: Path) -> Iterator[dict[str, Any]]:
    outputs = outputs_in(answers.read_bytes())
    judged = [json.loads(line) for line in scores.read_bytes().splitlines()] if scores.is_file() else []
    for number, one in enumerate(outputs):
        score = judged[number] if len(judged) == len(outputs) else {}
        yield {"job_id": answers.stem, **one, **score}
