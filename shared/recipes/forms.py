"""Says in words which form a text of a recipe must have, for the patterns that the sections of services use."""

from __future__ import annotations

from collections.abc import Mapping

from shared.services import ollama, postgres, triton, vllm

_MODEL = "the name of a model: letters, digits and the signs `_ . / : @ -`"
FORMS: Mapping[str, str] = {
    postgres.NAME: "lower-case letters, digits and `_`, and no digit at the begin",
    postgres.MEMORY: "a number with its unit, such as `128MB`",
    r"^(\d+([kmg]b?)?)?$": "a number of bytes, or a number with its unit in lower case, such as `4gb`",
    r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$": "3 to 63 lower-case letters, digits, dots and dashes, and no dot or dash at an end",
    r"^[a-zA-Z0-9][a-zA-Z0-9_-]{1,61}[a-zA-Z0-9]$": "3 to 63 letters, digits, `_` and `-`, and no sign at an end",
    r"^[\w-]{1,100}$": "1 to 100 letters, digits, `_` and `-`",
    r"^[a-z0-9-]{1,40}$": "1 to 40 lower-case letters, digits and dashes",
    r"^(/[!-~]*)?$": "a path that begins with `/` and has no space",
    r"^(https?://[!-~]+)?$": "an address that begins with `http://` or `https://`",
    r"^\d*$": "a whole number",
    r"^[0-9a-f]{64}$": "64 digits from 0 to 9 and a to f",
    ollama.MODEL: _MODEL,
    r"^[A-Za-z0-9_./@][A-Za-z0-9_./@:+=-]*$": _MODEL,
    triton.MODEL: "letters, digits and the signs `_ . -`",
    vllm.WORD: "letters, digits and the signs `_ . / @ : + = -`",
}
