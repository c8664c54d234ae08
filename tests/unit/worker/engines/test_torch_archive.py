"""Tests what can be read from a file of PyTorch before torch opens it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelInvalid
from worker.engines.torch_archive import EXPORTED, SCRIPT, check_exported, kind_of

SIZE = "Symbol('s77', positive=True, integer=True)"


def archive(path: Path, *records: str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for record in records:
            made.writestr(f"{path.stem}/{record}", b"")
    return path


def checked(program: dict[str, Any] | None = None, **configs: Any) -> None:
    """Check an archive with this program, and with these configurations of weights and constants."""
    contents = {"models/model.json": program or {}, **{f"data/{name}/model_{name}_config.json": config for name, config in configs.items()}}
    check_exported([*contents, "archive_format"], lambda name: json.dumps(contents[name]).encode(), "net.pt2")


@pytest.mark.parametrize(
    ("records", "kind"),
    [
        (["archive_format", "models/model.json", "data/weights/weight_0"], EXPORTED),
        (["data.pkl", "constants.pkl", "code/__torch__.py"], SCRIPT),
    ],
)
def test_an_archive_is_known_by_what_is_in_it(tmp_path: Path, records: list[str], kind: str) -> None:
    assert kind_of(archive(tmp_path / "without-an-ending", *records)) == kind


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (
            ["data.pkl", "data/0"],
            r"net\.pt is a pickle, as torch\.save makes it: .* Export the model where it was made: torch\.export\.save",
        ),
        (["archive_format", "models/model.json", "data/aotinductor/model/a.so"], "native code that AOTInductor compiled"),
        (["something.txt"], r"neither torch\.export\.save nor torch\.jit\.save made it"),
    ],
)
def test_other_archives_are_refused_with_the_way_out(tmp_path: Path, records: list[str], why: str) -> None:
    with pytest.raises(ModelInvalid, match=why):
        kind_of(archive(tmp_path / "net.pt", *records))


def test_the_export_of_an_old_torch_is_refused_with_the_version(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as made:  # this archive has no folder at its top
        made.writestr("serialized_exported_program.json", b"{}")
    with pytest.raises(ModelInvalid, match=r"was exported by torch 2\.7 or older"):
        kind_of(tmp_path / "net.pt2")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x80\x02}q\x00.", "is a pickle"),
        (b"\x80\x04\x95\x00", "is a pickle"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}              ", "seems to be a safetensors file, which holds weights and no network"),
        (b"", "no model of PyTorch, or a truncated one"),
        (b"PK\x03\x04 and then nothing", "no model of PyTorch, or a truncated one"),
    ],
)
def test_what_is_no_archive_is_refused_by_what_it_seems_to_be(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "net.bin").write_bytes(content)
    with pytest.raises(ModelInvalid, match=rf"net\.bin .*{why}"):
        kind_of(tmp_path / "net.bin")


@pytest.mark.parametrize(
    "text",
    [
        SIZE,
        f"Mul(Integer(4), {SIZE})",
        "Add(Symbol('s21', positive=True, integer=True), Integer(-1))",
        "FloorDiv(s0 + 3, 2)",
        "Max(1, Symbol('u0', integer=True))",
        "LessThan(Symbol('u0', integer=True), Integer(8))",  # the size of what torch.nonzero finds
        "And(GreaterThan(Symbol('u0', integer=True), Integer(0)), Not(Equality(Symbol('u0', integer=True), Integer(3))))",
        f"StrictGreaterThan({SIZE}, Integer(4))",  # the condition of torch.cond
    ],
)
def test_sizes_as_torch_writes_them_are_accepted(text: str) -> None:
    checked({"graph_module": {"sizes": [{"as_expr": {"expr_str": text, "hint": {"as_int": 2}}}]}})


@pytest.mark.parametrize(
    "guard",
    [
        "L['ids'].size()[1] == L['mask'].size()[1]",
        "2 <= L['x'][0].size()[0] and L['x'][0].size()[0] <= 64",
        "L['x'].size()[0] % 8 == 0",
        "not L['flags'].stride()[0] == 1 or math.isnan(L['scale'])",
    ],
)
def test_conditions_as_torch_writes_them_are_accepted(guard: str) -> None:
    checked({"guards_code": [guard]})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__[0]",
        "L.__globals__",
        "eval('1')",
        "torch.load('x')",
        "torch.hub.load",
        "[x for x in ()]",
        "lambda: 1",
        "L['x'] if open('f') else 1",
        "Symbol('a; b')",
        "s0 ==",
        "(" * 500 + "s0" + ")" * 500,
        "s0 + " * 5_000 + "s0",
    ],
)
def test_any_other_text_is_refused_before_torch_runs_it(text: str) -> None:
    for program in ({"guards_code": [text]}, {"deep": [{"er": {"expr_str": text}}]}):
        with pytest.raises(ModelInvalid, match=r"net\.pt2 has the text .* where sizes are calculated, and torch would run it as code"):
            checked(program)


@pytest.mark.parametrize("target", ["torch.ops.aten.conv2d.default", "_operator.add", "math.ceil", "torch.sym_max", "torch._sym_sqrt"])
def test_operators_of_torch_may_be_called(target: str) -> None:
    checked({"graph_module": {"graph": {"nodes": [{"target": target}]}}})


@pytest.mark.parametrize(
    "target", ["torch.load", "torch.hub.load", "torch.ops.load_library('x')", "os.system", "torch.sym_max.__globals__"]
)
def test_nothing_else_may_be_called(target: str) -> None:
    with pytest.raises(ModelInvalid, match=r"which is no operator of torch"):
        checked({"graph_module": {"graph": {"nodes": [{"target": target}]}}})


@pytest.mark.parametrize("path_name", ["opaque_obj_0", "custom_obj_0", "../model.pt", ""])
def test_weights_and_constants_that_are_no_tensors_are_refused(path_name: str) -> None:
    checked(
        weights={"config": {"w": {"path_name": "weight_0", "use_pickle": False}}}, constants={"config": {"c": {"path_name": "tensor_0"}}}
    )
    for folder in ("weights", "constants"):
        with pytest.raises(ModelInvalid, match=r"net\.pt2 keeps 'w' as a pickled object, and a worker opens no pickle"):
            checked(**{folder: {"config": {"w": {"path_name": path_name}}}})


@pytest.mark.parametrize("record", ["data/aotinductor/model/x.so", "data/weights/model.pt", "data/constants/model.pt"])
def test_records_that_hold_code_or_pickles_are_refused(record: str) -> None:
    with pytest.raises(ModelInvalid, match=rf"net\.pt2 has '{record}' in it"):
        check_exported([record], lambda _: b"", "net.pt2")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_program_is_refused(content: bytes) -> None:
    with pytest.raises(ModelInvalid, match=r"net\.pt2 is damaged: 'models/model\.json' in it is no JSON object"):
        check_exported(["models/model.json"], lambda _: content, "net.pt2")
