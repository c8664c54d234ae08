"""Reads YAML in one pass with limited size, and finds the line of each value. Also writes YAML.

The types are those of the core schema of YAML 1.2. There are no base-60 numbers (`1:30` is a text) and no timestamps; `on`, `yes` and `off`
are texts. From YAML 1.1 this module keeps `1_000`, `0b1` and `<<`. It refuses aliases, because nine lines of them can expand to gigabytes.
It refuses a key that a mapping has twice, because one of the two values would be lost. It limits the depth and the number of values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import BaseResolver

from shared.masking import without_logins

MAX_DEPTH = 50
MAX_VALUES = 200_000  # including keys; this many take about a second to read
_TAG = "tag:yaml.org,2002:"
_TRUTHS = {"true": True, "false": False}


class _Resolver(BaseResolver):
    """Decides which unquoted words are not texts but numbers, booleans or null."""


for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*|[-+]?0x[0-9a-fA-F_]+|[-+]?0o[0-7_]+|[-+]?0b[01_]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Resolver.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), list(_first))


class _Constructor(SafeConstructor):
    """Makes values of JSON types only. A tag for another type is an error."""

    yaml_constructors = {  # noqa: RUF012 (PyYAML's name for its table; it is not added to)
        None: SafeConstructor.construct_undefined,
        _TAG + "null": SafeConstructor.construct_yaml_null,
        _TAG + "str": SafeConstructor.construct_yaml_str,
        _TAG + "seq": SafeConstructor.construct_yaml_seq,
        _TAG + "map": SafeConstructor.construct_yaml_map,
        _TAG + "bool": lambda self, node: self.truth(node),
        _TAG + "int": lambda self, node: self.number(node, _integer),
        _TAG + "float": lambda self, node: self.number(node, _fraction),
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        first: dict[str, int] = {}
        for key, _ in node.value:
            # `1` and `"1"` count as one key, because JSON has only texts as keys.
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in first:
                problem = f"the key {without_logins(repr(name)):.80} is also in line {first[name]}; keep one of the two"
                raise ConstructorError(None, None, problem, key.start_mark)
            if name is not None:
                first[name] = key.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)

    def truth(self, node: yaml.ScalarNode) -> bool:
        text = str(self.construct_scalar(node))
        if text.lower() not in _TRUTHS:
            raise ConstructorError(None, None, f"neither true nor false: {without_logins(repr(text)):.80}", node.start_mark)
        return _TRUTHS[text.lower()]

    def number(self, node: yaml.ScalarNode, read: Any) -> int | float:
        text = str(self.construct_scalar(node))
        try:
            return read(text.replace("_", "").lower())  # type: ignore[no-any-return]  # int or float, by `read`
        except ValueError as error:
            raise ConstructorError(None, None, f"no number that can be read: {without_logins(repr(text)):.80}", node.start_mark) from error


def _integer(text: str) -> int:
    prefixed = text.lstrip("+-")[:2] in ("0x", "0o", "0b")
    return int(text, 0) if prefixed else int(text)


def _fraction(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


class _Composer(Composer):
    """Makes nodes from the parser's events, one at a time, and stops with an error as soon as a limit is exceeded."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[attr-defined]  # of the parser
        self._values += 1
        self._depth += 1
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases (`*name`) are not accepted; write the value out"
        elif self._depth > MAX_DEPTH + 1:  # a scalar is one level deeper than the list that contains it
            problem = f"more than {MAX_DEPTH} lists and mappings inside one another; no recipe needs that"
        elif self._values > MAX_VALUES:
            problem = f"more than {MAX_VALUES} values; no recipe needs that"
        if problem is not None:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class PythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """Is PyYAML's parser in Python, for installations of PyYAML without libyaml. It is ten times slower."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


def reader_over(parser: Any) -> Any:
    """Return a reader class that is based on the class `parser`."""

    class Reader(_Composer, parser, _Constructor, _Resolver):  # type: ignore[misc]  # mypy cannot see which parser
        def __init__(self, text: str) -> None:
            parser.__init__(self, text)
            _Composer.__init__(self)
            _Constructor.__init__(self)
            _Resolver.__init__(self)

    return Reader


_Reader = reader_over(yaml.CSafeLoader.__base__ if yaml.__with_libyaml__ else PythonParser)


class _Writer(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 would read as another type."""


for _start, _resolvers in _Resolver.yaml_implicit_resolvers.items():
    for _tag, _words in _resolvers:
        _Writer.add_implicit_resolver(_tag, _words, [_start])


class Places:
    """Maps the path of a value, given as keys and indices, to its line in the text."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._root = root
        self._items: dict[int, dict[str, tuple[int, yaml.Node]]] = {}  # a cache, keyed by `id` of a mapping node

    def line(self, way: Sequence[Any]) -> int | None:
        """Return the line of a value, counted from 1. If the text does not contain it, return the line of its nearest parent."""
        node, found = self._root, None
        for part in way:
            step = self._step(node, part)
            if step is None:
                break
            found, node = step
        return found

    def _step(self, node: yaml.Node | None, part: Any) -> tuple[int, yaml.Node] | None:
        if isinstance(node, yaml.MappingNode):
            if id(node) not in self._items:
                self._items[id(node)] = {str(key.value): (key.start_mark.line + 1, value) for key, value in node.value}
            return self._items[id(node)].get(str(part))
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            return node.value[part].start_mark.line + 1, node.value[part]
        return None


def read_yaml(text: str, reader_of: Any = _Reader) -> tuple[Any, Places]:
    """Return the content of a YAML text, and the lines of its values.

    Raises:
        yaml.YAMLError: the text is not valid YAML, or exceeds a limit.
        ValueError: likewise, or the text is not valid Unicode.
    """
    if text.count("%TAG") > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} `%TAG` directives; no recipe needs one")  # PyYAML compares each with all earlier ones
    reader = reader_of(text)
    try:
        node = reader.get_single_node()
        return (reader.construct_document(node) if node is not None else None), Places(node)
    finally:
        reader.dispose()


def explained(error: Exception, text: str) -> str:
    """Return what is wrong with a YAML text, after the number of the line where the reader noticed it.

    Args:
        error: what `read_yaml` has raised for the text.
    """
    if isinstance(error, yaml.reader.ReaderError) and isinstance(error.character, int) and (one := chr(error.character)) in text:
        return f"line {text[: text.index(one)].count(chr(10)) + 1}: the character {one!r} is not accepted; remove it"
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return str(error)
    lines = text.split("\n")
    if mark.line < len(lines) and lines[mark.line][mark.column : mark.column + 1] == "\t":
        return f"line {mark.line + 1}: a tab stands where YAML takes spaces only; indent this line with spaces"
    begun = error.context_mark
    began = f" in line {begun.line + 1}" if begun is not None and begun.line != mark.line else ""
    context = f" ({error.context}{began})" if error.context else ""
    return f"line {mark.line + 1}: {error.problem}{context}"


def write_yaml(content: Any) -> str:
    """Return JSON data as YAML text. `read_yaml` and any reader of YAML 1.1 read the same data back."""
    # PyYAML writes the line end NEL unescaped but reads it as a space. So if the text contains one, escape all non-ASCII characters.
    text = yaml.dump(content, Dumper=_Writer, sort_keys=False, allow_unicode=True)
    return text if "\x85" not in text else yaml.dump(content, Dumper=_Writer, sort_keys=False)
