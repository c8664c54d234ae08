"""Reads what a language model wrote for each request from the sections of the binary records, as parts of lines of JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from shared.request_records import SUCCESS, open_section
from shared.token_records import RECORD, SOURCES, TEXTS, TOKENS, USAGE, token_record_type

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_LINE_BYTES = 10_000_000  # of a prompt


class Written:
    """Reads the sections of one file block by block, beside its records. A file without these sections has nothing to say."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens: BinaryIO | None = None
        self._texts: BinaryIO | None = None

    def __enter__(self) -> Written:
        self._tokens = open_section(self._path, TOKENS)
        self._texts = open_section(self._path, TEXTS)
        return self

    def __exit__(self, *_error: object) -> None:
        for file in (self._tokens, self._texts):
            if file is not None:
                file.close()

    def next(self, records: NDArray[np.void]) -> Iterator[str]:
        """Yield for each of the next records what its line of JSON gets besides, beginning with a comma; it may be empty.

        Raises:
            ValueError: The file ends too early.
        """
        import numpy as np

        if self._tokens is None:
            return repeat("", len(records))
        data = self._tokens.read(len(records) * RECORD.size)
        if len(data) < len(records) * RECORD.size:
            raise ValueError(f"the tokens of {self._path.name} end too early")
        return self._parts(records, np.frombuffer(data, token_record_type()))

    def _parts(self, records: NDArray[np.void], tokens: NDArray[np.void]) -> Iterator[str]:
        lasted = (records["last"] / 1e9).tolist()
        failed = (records["failure"] != SUCCESS).tolist()
        columns = [tokens[name].tolist() for name in ("ttft", "input", "output", "events", "source")]
        for latency, wrong, ttft, asked, wrote, events, source in zip(lasted, failed, *columns, strict=True):
            more = f', "ttft_s": {ttft / 1e9:.9f}' if math.isfinite(ttft) else ""
            if wrote > 1 and events > 1 and not wrong:
                more += f', "tpot_s": {(latency - ttft / 1e9) / (wrote - 1):.9f}'
            more += f', "input_tokens": {asked}' if asked else ""
            more += f', "output_tokens": {wrote}' if wrote else ""
            if wrote and source != USAGE:  # otherwise the server has counted them
                more += f', "output_tokens_counted_by": "{SOURCES[source] if source < len(SOURCES) else "unknown"}"'
            yield more + self._prompt()

    def _prompt(self) -> str:
        line = self._texts.readline(MAX_LINE_BYTES) if self._texts is not None else b"null\n"
        return "" if line == b"null\n" else f', "prompt": {line.decode().rstrip()}'
