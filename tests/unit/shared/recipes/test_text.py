from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from shared.recipes.text import MAX_DEPTH, PythonParser, read_yaml, reader_over, write_yaml

READERS = [pytest.param(reader_over(yaml.CSafeLoader.__base__), id="libyaml"), pytest.param(reader_over(PythonParser), id="python")]

# Each case has the text that is written, and the value that it means.
WORDS: list[tuple[str, Any]] = [
    ("12", 12),
    ("-7", -7),
    ("1_000", 1000),
    ("010", 10),
    ("0o17", 15),
    ("0x1F", 31),
    ("0b11", 3),
    ("1.5", 1.5),
    ("-.5", -0.5),
    ("1e3", 1000.0),
    ("1.5e-3", 0.0015),
    (".inf", math.inf),
    ("true", True),
    ("False", False),
    ("~", None),
    ("null", None),
    ("", None),
    *((word, word) for word in ("on", "yes", "off", "n", "1:30", "1:30.5", "2026-03-01", "2026-03-01 12:00:00", "=", "1.2.3", "0x", ".")),
    ("1" + ":59" * 200, "1" + ":59" * 200),
    ("https://models.example/a:b#d", "https://models.example/a:b#d"),
    ("'1'", "1"),
    ("!!str 1", "1"),
]


@pytest.mark.parametrize("reader", READERS)
def test_plain_words_have_the_types_of_yaml_1_2(reader: Any) -> None:
    for written, meant in WORDS:
        value = read_yaml(f"key: {written}", reader)[0]["key"]
        assert (type(value), value) == (type(meant), meant), written
        assert read_yaml(f"key: [{written or '~'}, end]", reader)[0]["key"][0] == meant, written


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "wrong",
    [
        *("!!float 1" + ":59" * 200, "!!int 1:30", "!!int ''", "!!float x", "!!bool maybe", "1" * 5_000, "0x_"),
        *("!!timestamp x", "!!binary aGk=", "!!set {a}", "!!python/object:os.system x", "!mine x", "{[1]: x, {a: b}: y}"),
    ],
)
def test_what_is_no_value_of_json_is_refused_with_its_line(reader: Any, wrong: str) -> None:
    with pytest.raises(yaml.YAMLError, match="line 2"):
        read_yaml(f"first: 1\nsecond: {wrong}\n", reader)


@pytest.mark.parametrize("reader", READERS)
def test_what_could_grow_without_end_is_refused_with_its_line(reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.recipes.text.MAX_VALUES", few := 2_000)  # reading as many values as are allowed takes seconds
    for text, said in (
        ("a: &x [1]\nb: *x", "aliases"),
        ("a:\n " + "[" * (MAX_DEPTH + 1), "inside one another"),
        ("\n" + "- " * 100_000, "inside one another"),
        ("a:\n- [" + "{}," * few + "]", f"more than {few} values"),
    ):
        with pytest.raises(yaml.YAMLError, match=said) as refused:
            read_yaml(text, reader)
        assert "line 2" in str(refused.value)
    read_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, reader)


def test_directives_that_are_compared_with_each_other_are_few() -> None:
    with pytest.raises(ValueError, match="%TAG"):
        read_yaml("".join(f"%TAG !a{number}! b\n" for number in range(1_000)) + "--- x")


def test_a_value_is_found_by_its_way_or_by_what_is_around_it() -> None:
    text = "model: a\nsweep:\n  options.threads:\n  - 1\n  - 2\non: [x,\n  y]\n<<: {name: c}\n? [k]\n: v\n"
    places = read_yaml(text.replace("? [k]\n: v\n", ""))[1]
    for way, line in (
        (("model",), 1),
        (("sweep", "options.threads"), 3),
        (("sweep", "options.threads", 1), 5),
        (("sweep", "options.threads", 7, "more"), 3),
        (("on", 1), 7),
        (("name",), 8),
        (("nowhere",), None),
        ((), None),
    ):
        assert places.line(way) == line, way


def test_what_is_written_is_read_back_the_same_by_either_version() -> None:
    texts = [
        "1e3",
        "089",
        "0o7",
        "1:30",
        "on",
        "y",
        "~",
        "=",
        "<<",
        "2026-03-01",
        "1_0",
        ".5",
        "0b1",
        "null",
        "",
        " a",
        "a\nb",
        "\x85",
        "é",
        "😀",
    ]
    content = {"texts": texts, "keys": dict.fromkeys(texts, 1), "numbers": [1, 1.5, 1e300, -1e-9, 1e16, True, None]}
    assert read_yaml(write_yaml(content))[0] == content
    assert yaml.safe_load(write_yaml(content)) == content


def test_a_login_in_what_is_no_number_is_not_repeated() -> None:
    with pytest.raises(yaml.YAMLError) as refused:
        read_yaml(f"x: !!int https://user:{'pass' * 30}@models.example/m.onnx")
    assert "pass" not in str(refused.value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("twice", ["a: 1\nb: 2\na: 3", "x:\n  1: a\n  '1': b", "[{a: 1, a: 1}]", "a: {b: 1}\n'a': {c: 1}"])
def test_a_key_that_a_mapping_has_twice_is_refused_with_both_lines(reader: Any, twice: str) -> None:
    with pytest.raises(yaml.YAMLError, match=r"the key '.' is also in line \d; keep one of the two\n.*line \d"):
        read_yaml(twice, reader)


@pytest.mark.parametrize("reader", READERS)
def test_a_merged_mapping_may_have_the_keys_of_the_one_that_it_is_merged_into(reader: Any) -> None:
    assert read_yaml("<<: {a: 1, b: 2}\na: 3", reader)[0] == {"a": 3, "b": 2}
