"""YAML to plain values, in one pass that is bounded, and the line of each of them.

The types are those of YAML 1.2's core schema: no sexagesimals (`1:30` is a text), no timestamps, `on`, `yes` and `off` are words. Of 1.1
stay `1_000`, `0b1` and `<<`. Aliases are refused: nine lines of them can ask for gigabytes. Depth and the number of values are bounded.
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
MAX_VALUES = 200_000  # keys count too; about a second of reading
_TAG = "tag:yaml.org,2002:"
_TRUTHS = {"true": True, "false": False}


class _Resolver(BaseResolver):
    """Which plain words are no text."""


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
    """The types of JSON, and no others, whatever tags ask for."""

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

    def truth(self, node: yaml.ScalarNode) -> bool:
        text = str(self.construct_scalar(node))
        if text.lower() not in _TRUTHS:
            raise ConstructorError(None, None, f"neither true nor false: {without_logins(repr(text)):.80}", node.start_mark)
        return _TRUTHS[text.lower()]

    def number(self, node: yaml.ScalarNode, read: Any) -> int | float:
        text = str(self.construct_scalar(node))
        try:
            return read(text.replace("_", "").lower())  # type: ignore[no-any-return]
        except ValueError as error:
            raise ConstructorError(None, None, f"no number that can be read: {without_logins(repr(text)):.80}", node.start_mark) from error


def _integer(text: str) -> int:
    prefixed = text.lstrip("+-")[:2] in ("0x", "0o", "0b")
    return int(text, 0) if prefixed else int(text)


def _fraction(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


class _Composer(Composer):
    """Makes nodes of events, which the parsers give one at a time: what is too much is refused before there is more of it."""

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
        elif self._depth > MAX_DEPTH + 1:  # a scalar is one deeper than the list it is in
            problem = f"more than {MAX_DEPTH} lists and mappings inside one another; no recipe needs that"
        elif self._values > MAX_VALUES:
            problem = f"more than {MAX_VALUES} values; no recipe needs that"
        if problem is not None:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class PythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's own, where it was built without libyaml: there was no wheel, and nothing to compile against. Ten times slower."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


def reader_over(parser: Any) -> Any:
    """The class that reads what `parser` finds."""

    class Reader(_Composer, parser, _Constructor, _Resolver):  # type: ignore[misc]  # mypy cannot see which parser
        def __init__(self, text: str) -> None:
            parser.__init__(self, text)
            _Composer.__init__(self)
            _Constructor.__init__(self)
            _Resolver.__init__(self)

    return Reader


_Reader = reader_over(yaml.CSafeLoader.__base__ if yaml.__with_libyaml__ else PythonParser)


class _Writer(yaml.SafeDumper):
    """Quotes what either of the two versions would not read as text."""


for _start, _resolvers in _Resolver.yaml_implicit_resolvers.items():
    for _tag, _words in _resolvers:
        _Writer.add_implicit_resolver(_tag, _words, [_start])


class Places:
    """Lines of a text that was read, by the way to a value: keys and indices."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._root = root
        self._items: dict[int, dict[str, tuple[int, yaml.Node]]] = {}  # by the id of a mapping that was asked for

    def line(self, way: Sequence[Any]) -> int | None:
        """The line of a value, or of the nearest one around it that is written; counted from 1."""
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
    """
    Raises:
        yaml.YAMLError: it is no YAML, or more of it than is read.
        ValueError: the same, or it holds what is no Unicode text.
    """
    if text.count("%TAG") > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} `%TAG` directives; no recipe needs one")  # each is compared with all before it
    reader = reader_of(text)
    try:
        node = reader.get_single_node()
        return (reader.construct_document(node) if node is not None else None), Places(node)
    finally:
        reader.dispose()


def write_yaml(content: Any) -> str:
    """YAML that `read_yaml` reads back the same, and a reader of YAML 1.1 too. What JSON can hold, and nothing else, can be written."""
    # PyYAML writes the line end NEL as it stands and reads it as a space; where there is one, all beyond ASCII is escaped.
    text = yaml.dump(content, Dumper=_Writer, sort_keys=False, allow_unicode=True)
    return text if "\x85" not in text else yaml.dump(content, Dumper=_Writer, sort_keys=False)
