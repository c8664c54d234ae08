"""Tests the forms of a model's source, and the name that is shown for each."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.inputs import ModelRef
from shared.names import PATTERN
from shared.sources import MAX_NAME, file_path, model_name, upload_of, upload_source

SHA = "ab" * 32
# A file on Linux may have any name of up to 255 bytes without `/` and NUL, except for `.` and `..`.
FILE_NAMES = (
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="/"), min_size=1)
    .filter(lambda name: len(name.encode()) <= 255)
    .filter(lambda name: name.strip(".") != "")
)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("./what?.onnx", "what?.onnx"),
        ("models/a#b.onnx", "a#b.onnx"),
        ("50%20off.onnx", "50%20off.onnx"),
        ("/models/m.onnx", "m.onnx"),
        ("squeezenet", "squeezenet"),
        ("https://models.example/zoo/my%20model.onnx?download=true#x", "my model.onnx"),
        ("https://models.example/50%2525.onnx", "50%25.onnx"),
        ("https://models.example/o/models%2Fresnet.onnx?alt=media", "resnet.onnx"),
        ("https://models.example", "models.example"),
        ("https://models.example/?id=7", "models.example"),
        ("https://user:SECRET@models.example/m.onnx", "m.onnx"),
        ("https://models.example/a%0Ab.onnx", "a\ufffdb.onnx"),
        ("file:///models/what%3F%23.onnx", "what?#.onnx"),
        ("hf://org/repo@main/onnx/50%25.onnx", "50%25.onnx"),
        (f"sha256:{SHA}?name=50%25%20off.onnx", "50% off.onnx"),
        ("sha256:nonsense", "sha256:nonsense"),
    ],
)
def test_a_model_is_called_as_its_file_is(source: str, name: str) -> None:
    assert model_name(source) == name


@given(FILE_NAMES)
def test_every_file_name_is_shown_whole_by_every_way_in(name: str) -> None:
    folder = Path("/models")
    assert model_name(f"./{name}") == name
    assert model_name((folder / name).as_uri()) == name
    assert model_name(f"https://models.example/{quote(name)}?x=1") == name
    assert file_path((folder / name).as_uri()) == str(folder / name)
    assert upload_of(upload_source(SHA, name)) == (SHA, name)
    assert ModelRef(source="x", name=name).name == name


@given(st.text(min_size=1, max_size=400), st.text(min_size=1, max_size=400))
def test_whatever_a_source_says_its_name_is_one_line_that_fits(one: str, other: str) -> None:
    for source in (one, f"https://models.example/{one}", f"file:///{one}", f"sha256:{one}"):
        name = model_name(source)
        assert 0 < len(name) <= MAX_NAME
        assert re.match(PATTERN, name)
        name.encode()
    plain = [text.replace("/", "-") for text in (one, other)]
    long = [f"{'n' * 300}{text}{'n' * 300}.onnx" for text in plain]
    assert (model_name(long[0]) == model_name(long[1])) is (plain[0] == plain[1]) or any(not text.isprintable() for text in plain)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("file:///models/a.onnx#1.onnx", "write ? as %3F and # as %23"),
        ("file:///models/what?.onnx", "write ? as %3F and # as %23"),
        ("file://lab/models/a.onnx", "names the host 'lab'"),
    ],
)
def test_a_file_url_that_could_mean_another_file_is_refused(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        file_path(source)


@pytest.mark.parametrize("rest", ["", SHA[1:], SHA.upper(), f"{SHA}?", f"{SHA}?name=", f"{SHA}?name=a&name=b", f"{SHA}?nme=a", f"{SHA}#a"])
def test_what_names_no_upload_is_refused(rest: str) -> None:
    with pytest.raises(ValueError, match=r"64 hexadecimal digits|and a name of at most 255"):
        upload_of(f"sha256:{rest}")
