"""Reads the kept answers of a phase after it has ended, and writes what they say as the sections of `shared.token_records`."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from shared.request_records import RECORD, SUCCESS
from shared.token_records import GAPS, NOTHING, TEXTS, TOKENS
from worker.drivers.answer_file import kept_answers
from worker.drivers.reading import Reading

FAILURE_PLACE = RECORD.size - 1  # the last byte of a record


def section_path(records: Path, section: str) -> Path:
    """Return the file of a section, which is beside the file of the records that it belongs to."""
    return records.with_suffix(f".{section}")


def settle_answers(
    answers: Path, records: Path, read: Callable[[bytes, Sequence[int]], Reading], text_of: Callable[[int], str] | None
) -> str:
    """Write the sections of a file of records, and return what is said about the first answer that is no success; empty if all are.

    A request whose answer turns out to be wrong, or to hold an error, becomes a failure in its record. Afterwards the file of the answers
    is removed, because a load may bring gigabytes of them.

    Args:
        read: Reads a body; its second argument is that of `worker.drivers.frames.frames_of`.
        text_of: Returns the prompt of a request by its number, if prompts are kept.
    """
    said = ""
    next_record = 0
    with ExitStack() as stack:
        tokens = stack.enter_context(section_path(records, TOKENS).open("wb"))
        gaps = stack.enter_context(section_path(records, GAPS).open("wb"))
        texts = stack.enter_context(section_path(records, TEXTS).open("wb")) if text_of is not None else None
        mended = stack.enter_context(records.open("r+b"))
        count = records.stat().st_size // RECORD.size

        def skip_to(record: int) -> None:
            tokens.write(NOTHING * (record - next_record))
            if texts is not None:
                texts.write(b"null\n" * (record - next_record))

        for answer in kept_answers(answers):
            skip_to(answer.record)
            next_record = answer.record + 1
            reading = read(answer.body, answer.arrived) if answer.status in (0, 200) else Reading()
            if answer.failure == SUCCESS and reading.failure != SUCCESS:
                said = said or reading.said
                mended.seek(answer.record * RECORD.size + FAILURE_PLACE)
                mended.write(bytes([reading.failure]))
            tokens.write(reading.record(answer.sent))
            gaps.write(array("f", reading.gaps()).tobytes())
            if texts is not None and text_of is not None:
                texts.write(json.dumps(text_of(answer.number)).encode() + b"\n")
        skip_to(count)
    answers.unlink()
    return said
