from __future__ import annotations

from pathlib import Path

import pytest

from shared.tokens import usable_token, with_token_of_file


def test_white_space_around_a_token_is_not_part_of_it() -> None:
    assert usable_token(" s3cret\n") == "s3cret"


@pytest.mark.parametrize("value", ["", "  ", "two words", "tab\tin it", "line\nbreak", "schlüssel"])
def test_what_cannot_stand_in_a_header_is_no_token_and_is_not_repeated(value: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as refused:
        usable_token(value)
    assert not value.strip() or value not in str(refused.value)


def test_a_token_comes_from_its_file_unless_one_is_given(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert with_token_of_file({"token_file": str(file)})["token"] == "from-file\n"
    assert with_token_of_file({"token_file": str(file), "token": "given"})["token"] == "given"
    assert with_token_of_file({"host": "h"}) == {"host": "h"}


def test_a_token_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    for content in (None, " \n"):
        file = tmp_path / "token"
        if content is not None:
            file.write_text(content)
        with pytest.raises(ValueError, match="token file") as refused:
            with_token_of_file({"token_file": str(file)})
        assert str(file) in str(refused.value)
