from __future__ import annotations

import unicodedata

from shared.controls import visible

TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # Unicode calls these explicit formatting characters


def _is_seen(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and unicodedata.bidirectional(character) not in TURNING


def test_every_control_and_nothing_else_is_written_out() -> None:
    marks = {"\u200e", "\u200f", "\u061c"}  # these change the direction of neutral characters
    for character in map(chr, range(0x110000)):
        if _is_seen(character) and character not in marks:
            assert visible(character) == character
        else:
            assert visible(character).startswith("\\"), hex(ord(character))
            assert visible(character).isascii()


def test_a_control_is_written_as_python_writes_it() -> None:
    assert visible("a\x1b[2J\n\t\u202eb\ud800") == "a\\x1b[2J\\n\\t\\u202eb\\ud800"
    assert visible("a\x1b\n\tb", keep="\n\t") == "a\\x1b\n\tb"
