"""Defines `outputs.jsonl`: what a language model wrote for the documents of a task, one JSON object in each line.

The keys of a line are `document_id`, `prompt_sha256` (of the whole prompt, before a chat template), `output`, `output_tokens` (with the
token that ended it), `finish_reason`, `input_tokens` and `references`. In the folder of a campaign there are also `job_id` and the scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

NAME = "outputs.jsonl"


def lines_of(outputs: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the content of a file."""
    return "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in outputs).encode()


def outputs_in(content: bytes) -> list[dict[str, Any]]:
    """Return the objects in the content of a file.

    Raises:
        ValueError: a line is not such an object. The message names the line.
    """
    found = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line:
            continue
        try:
            one = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is not JSON: {error}") from error
        if not _is_output(one):
            raise ValueError(f"line {number} has no `output` and `references`")
        found.append(one)
    return found


def _is_output(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("output"), str) and isinstance(one.get("references"), list)
