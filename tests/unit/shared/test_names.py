"""Tests that names and addresses from outside must be one line of text without control characters."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from shared.errors import InvalidInput
from shared.hub import HubFile
from shared.names import OneLine
from shared.recipes import parse_recipe


class Named(BaseModel):
    name: OneLine


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\x00", "\x1b[31m", "\x7f", "\x9b31m", "a\u2028b", "\t"])
def test_a_name_with_a_control_character_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="a name is one line of text"):
        Named(name=text)


@pytest.mark.parametrize("text", ["", "squeezenet 1.1", "Gerät-ü", "模型", "👩‍🔬", "a/b\\c", "=1+1", "non\u00a0breaking"])
def test_any_other_text_is_a_name(text: str) -> None:
    assert Named(name=text).name == text


@pytest.mark.parametrize("bad", ["x\x1b[2J", "x\ny"])
def test_a_recipe_names_the_field_that_is_not_one_line(bad: str) -> None:
    base = {"on": ["cpu.onnx"], "model": "https://models.example/m.onnx"}
    without = {"on": ["cpu.onnx"]}
    for recipe, path in (
        ({**base, "name": bad}, "name"),
        ({**base, "model": bad}, "model"),
        ({**base, "devices": [bad]}, "devices.0"),
        ({**without, "models": [bad]}, "models.0"),
        ({**without, "models": [{"model": "m", "name": bad}]}, "models.0.name"),
        (
            {**without, "models": [{"model": "m", "companions": [{"name": "../x", "sha256": "0" * 64, "size": 1}]}]},
            "models.0.companions.0.name",
        ),
    ):
        with pytest.raises(InvalidInput) as caught:
            parse_recipe(recipe)
        assert path in [field.path for field in caught.value.fields], caught.value.fields


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("hf://org/repo/m.onnx", "https://hub/org/repo/resolve/main/m.onnx"),
        ("HF://Org/re.po_1-x/onnx/big model.onnx", "https://hub/Org/re.po_1-x/resolve/main/onnx/big%20model.onnx"),
        ("hf://org/repo@v1.0/m.onnx", "https://hub/org/repo/resolve/v1.0/m.onnx"),
        ("hf://org/repo@refs/pr/3/a/m.onnx", "https://hub/org/repo/resolve/refs%2Fpr%2F3/a/m.onnx"),
    ],
)
def test_a_file_on_a_hub_has_one_url(source: str, url: str) -> None:
    assert HubFile.parse(source).url("https://hub/") == url


@pytest.mark.parametrize(
    "source",
    [
        *(
            "hf://",
            "hf://repo/m.onnx",
            "hf://org/repo",
            "hf://org/repo/",
            "hf://org/repo@/m",
            "hf://org/repo/a/../m",
            "hf://../../m",
            "hf://org/./m",
        ),
        *(
            "hf://org/repo//m",
            "hf://org/repo@../m",
            "hf://org/repo@refs/pr/../m",
            "hf://org/repo/m?x",
            "hf://org/repo/m#x",
            "hf://org/repo@a b/m",
            "hf://user:pw@host/org/repo/m",
            "hf://org/repo/m\n",
        ),
    ],
)
def test_anything_else_is_none(source: str) -> None:
    with pytest.raises(ValueError, match=r"hf://org/repo\[@revision\]/path/to/model\.onnx"):
        HubFile.parse(source)
