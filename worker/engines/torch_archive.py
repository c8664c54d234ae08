"""Finds out what a file of PyTorch is, and refuses what would run code of its own when it is opened.

This module imports no torch. The files of `torch.export.save` and `torch.jit.save` are ZIP archives, and so are the pickles of
`torch.save`. A pickle may run any code. A worker opens models that other people name, so it never opens a pickle, nor an archive with one
inside. The archive of an exported program can also hold compiled native code, and texts that torch evaluates as Python: sizes
(`Symbol('s77', positive=True, integer=True)`) and conditions (`L['x'].size()[0] <= 64`). These texts are parsed here first, and only what
torch itself writes is accepted.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shared.errors import ModelInvalid

EXPORTED, SCRIPT = "exported program", "TorchScript"
HOW_TO_EXPORT = (
    "Export the model where it was made: torch.export.save(torch.export.export(model.eval(), (example_input,)), 'model.pt2') "
    "and give the .pt2 file"
)
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# A size or a condition may call these functions. All of them calculate with numbers.
_FUNCTIONS = frozenset(
    {
        *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "Min", "Max", "Abs", "floor", "ceiling", "sqrt", "log"),
        *("Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv"),
        # These are the names of sympy for the comparisons of sizes that depend on the data, as of torch.nonzero.
        *("LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan", "Equality", "Unequality"),
        *("CeilToInt", "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv"),
        *("IsNonOverlappingAndDenseIndicator", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity"),
        *("Piecewise", "min", "max", "abs", "int", "float", "bool", "len"),
    }
)
_METHODS = frozenset({"size", "stride", "storage_offset", "isnan", "inf", "sym_max", "sym_min", "sym_not", "sym_float", "sym_int"})
_WORDS = frozenset({"L", "True", "False", "true", "false", "oo", "int_oo", "zoo", "nan", "math", "torch"})
_SYMBOL = re.compile(r"[a-z]{1,3}\d+", re.ASCII)
_TEXT = re.compile(r"[\w.]{0,200}", re.ASCII)
# The node of a graph may call these: operators of torch, arithmetic of sizes, and blocks of control flow.
_TARGET = re.compile(r"torch\.ops\.[\w.]+|_operator\.\w+|math\.\w+|torch\._?sym_\w+|torch\._C\._set_grad_enabled", re.ASCII)
_PARTS = (
    *(ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.Attribute, ast.Subscript, ast.Index, ast.keyword, ast.Tuple),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.IfExp),
)


def kind_of(path: Path) -> str:
    """Return what a model file is: `EXPORTED` or `SCRIPT`. Only the names in its archive are read.

    Raises:
        ModelInvalid: It is neither.
    """
    name = path.name
    if path.is_dir():
        raise ModelInvalid(f"{name} is a directory; give the .pt2 file, or the .pt file of TorchScript")
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if not zipfile.is_zipfile(path):
            raise ModelInvalid(_no_archive(name, head))
        with zipfile.ZipFile(path) as archive:
            records = {record.partition("/")[2] for record in archive.namelist()} | {
                record for record in archive.namelist() if "/" not in record
            }
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ModelInvalid(f"{name} cannot be read as an archive of PyTorch: {error}") from error
    if any(record.startswith("data/aotinductor/") for record in records):
        raise ModelInvalid(
            f"{name} holds native code that AOTInductor compiled; a worker runs no code that a model brings along. "
            "Save the exported program itself with torch.export.save, and choose the mode with options.compile"
        )
    if "archive_format" in records and any(record.startswith("models/") for record in records):
        return EXPORTED
    if "serialized_exported_program.json" in records:
        raise ModelInvalid(
            f"{name} was exported by torch 2.7 or older, in a format that holds pickles. {HOW_TO_EXPORT}, with torch 2.8 or newer"
        )
    if "constants.pkl" in records and any(record.startswith("code/") for record in records):
        return SCRIPT
    if "data.pkl" in records:
        raise ModelInvalid(_is_a_pickle(name))
    raise ModelInvalid(f"{name} is a ZIP archive, and neither torch.export.save nor torch.jit.save made it. {HOW_TO_EXPORT}")


def _is_a_pickle(name: str) -> str:
    return f"{name} is a pickle, as torch.save makes it: opening it can run any code, so no worker opens it. {HOW_TO_EXPORT}"


def _no_archive(name: str, head: bytes) -> str:
    if head.startswith(_PICKLES):
        return _is_a_pickle(name)
    if head[8:9] == b"{":
        return f"{name} seems to be a safetensors file, which holds weights and no network. {HOW_TO_EXPORT}"
    return f"{name} is no model of PyTorch, or a truncated one: it is no ZIP archive. {HOW_TO_EXPORT}"


def check_exported(records: Sequence[str], read: Callable[[str], bytes], name: str) -> None:
    """Check that nothing in the archive of an exported program runs code of its own.

    Args:
        records: The names in the archive, without the archive's own name.
        read: Reads one of them. It must be torch's own reader: two readers of ZIP files may see different contents in one file.
        name: The name of the model, for messages.

    Raises:
        ModelInvalid: Something in it could run code, or is not what torch writes.
    """
    for record in records:
        if record.startswith("data/aotinductor/") or record in ("data/weights/model.pt", "data/constants/model.pt"):
            raise ModelInvalid(f"{name} has {record!r:.200} in it, which a worker does not open. {HOW_TO_EXPORT}, with torch 2.8 or newer")
        if record.startswith(("data/weights/", "data/constants/")) and record.endswith(".json"):
            for key, payload in _object(_json(read(record), record, name).get("config")).items():
                if not str(_object(payload).get("path_name", "")).startswith(("weight_", "tensor_")):
                    raise ModelInvalid(
                        f"{name} keeps {key!r:.100} as a pickled object, and a worker opens no pickle: export it as a tensor"
                    )
        if record.startswith("models/") and record.endswith(".json"):
            _check_program(_json(read(record), record, name), name)


def _check_program(program: dict[str, Any], name: str) -> None:
    for guard in program.get("guards_code") or []:
        _check_text(str(guard), name)
    for key, value in _entries(program):
        if key == "expr_str":
            _check_text(str(value), name)
        elif key == "target" and isinstance(value, str) and not _TARGET.fullmatch(value):
            raise ModelInvalid(f"{name} calls {value!r:.200} in its graph, which is no operator of torch; a worker runs nothing else")


def _entries(tree: Any) -> Iterator[tuple[str, Any]]:
    """Return every key of a JSON document with its value. It uses no recursion, because a document may be nested deeply."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part.items()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _check_text(text: str, name: str) -> None:
    """Check that a text which torch evaluates is arithmetic with sizes."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None or len(text) > 10_000 or not all(_is_arithmetic(part) for part in ast.walk(tree)):
        raise ModelInvalid(f"{name} has the text {text!r:.200} where sizes are calculated, and torch would run it as code; it is refused")


def _is_arithmetic(part: ast.AST) -> bool:
    if isinstance(part, ast.Name):
        return part.id in _FUNCTIONS or part.id in _WORDS or _SYMBOL.fullmatch(part.id) is not None
    if isinstance(part, ast.Attribute):
        return part.attr in _METHODS
    if isinstance(part, ast.Constant) and isinstance(part.value, str):
        return _TEXT.fullmatch(part.value) is not None
    return isinstance(part, _PARTS)


def _json(content: bytes, record: str, name: str) -> dict[str, Any]:
    try:
        return _object(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise ModelInvalid(f"{name} is damaged: {record!r:.200} in it is no JSON object ({error})") from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004 - the content of a file, not an argument
    return value
