"""Tests that messages of torch 2.8 to 2.13 are turned into sentences that tell the user what to do."""

from __future__ import annotations

import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from worker.engines.torch_errors import WORDS, explain_call, explain_compile, explain_load


@pytest.mark.parametrize(
    ("message", "dtype", "kind", "said"),
    [
        ("Guard failed: x.size()[0] % 8 == 0", None, ModelInvalid, "was exported for inputs with x.size()[0] % 8 == 0: give options.dims"),
        ("[enforce fail at alloc_cpu.cpp:126] DefaultCPUAllocator: not enough memory: you tried", None, ModelInvalid, "does not fit into"),
        ("index out of range in self", None, ModelInvalid, "looks up a row that its table does not have: give options.values"),
        ("CUDA error: device-side assert triggered", None, ModelInvalid, "looks up a row that its table does not have"),
        ("mat1 and mat2 must have the same dtype, but got Half and Float", "float16", ModelInvalid, "options.dtype float16 cannot change"),
        ("expected scalar type Float but found BFloat16", None, ModelInvalid, "mixes types of elements: give inputs of the types"),
        ("\"addmm_impl_cpu_\" not implemented for 'Half'", "float16", ModelInvalid, "mixes types of elements"),
        ("mat1 and mat2 shapes cannot be multiplied (2x5 and 4x3)", None, ModelInvalid, "does not take inputs of these shapes"),
        ("The size of tensor a (4) must match the size of tensor b (5)", None, ModelInvalid, "does not take inputs of these shapes"),
        (
            "The operator 'aten::_linalg_svd.U' is not currently implemented for the MPS device",
            None,
            EngineUnavailable,
            "aten::_linalg_svd.U",
        ),
        (
            "Tensor on device meta is not on the expected device cpu!",
            None,
            ModelInvalid,
            "weights on the device `meta`, which have no values",
        ),
        ("something new", None, ModelInvalid, "torch 2.13.0 cannot run net.pt2: something new"),
        ("", None, ModelInvalid, "torch 2.13.0 cannot run net.pt2: RuntimeError"),
    ],
)
def test_a_failed_inference_is_explained(message: str, dtype: str | None, kind: type, said: str) -> None:
    reason = explain_call(RuntimeError(message), "net.pt2", "2.13.0", "cpu", dtype)
    assert type(reason) is kind
    assert said in reason.detail


def test_only_the_error_of_a_script_is_quoted_and_not_its_stack() -> None:
    text = (
        "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript (most recent call last):\n"
        '  File "code/__torch__.py", line 12, in forward\nRuntimeError: mat1 and mat2 shapes cannot be multiplied (2x5 and 4x3)\n'
    )
    assert explain_call(RuntimeError(text), "net.pt", "2.13.0", "cpu", None).detail.endswith(
        "torch says: mat1 and mat2 shapes cannot be multiplied (2x5 and 4x3)"
    )


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("PytorchStreamReader failed reading zip archive: failed finding central directory", "is damaged or truncated"),
        ("Saved archive version 3 does not match our current archive version 0.", "export it with that version, or update torch"),
        ("Weights only load failed. Unsupported global: GLOBAL posix.system", "keeps a pickled object that may run code"),
        ("not enough memory", "does not fit into the memory"),
        ("who knows", "torch 2.13.0 cannot load net.pt2: who knows"),
    ],
)
def test_a_failed_load_is_explained(message: str, said: str) -> None:
    assert said in explain_load(RuntimeError(message), "net.pt2", "2.13.0", "cpu").detail


def test_a_failed_compilation_names_the_option() -> None:
    found = explain_compile(RuntimeError("Unsupported: data dependent operator"), "net.pt2", "2.13.0", "max-autotune")
    assert "cannot compile net.pt2 with options.compile max-autotune: leave it out" in found.detail
    assert isinstance(explain_compile(RuntimeError("TritonMissing: Cannot find a working triton"), "n", "2", "default"), EngineUnavailable)


def test_a_long_message_is_cut() -> None:
    assert len(explain_call(RuntimeError("x" * 10_000), "net.pt2", "2.13.0", "cpu", None).detail) < WORDS + 100


@pytest.mark.parametrize(
    ("message", "operator"),
    [
        ("Failed deserializing node Node(target='torch.ops.odd9.plus.default', inputs=[NamedArgument(name='x'", "odd9::plus"),
        ("Unknown builtin op: quantized_by_us::plus.", "quantized_by_us::plus"),
        ("Unknown builtin op: torchvision::nms.\nCould not find any similar ops to torchvision::nms.", "torchvision::nms"),
    ],
)
def test_an_operator_of_another_library_is_named(message: str, operator: str) -> None:
    reason = explain_load(RuntimeError(f"{message} Original exception: Unsupported target type"), "net.pt2", "2.13.0", "cpu")
    assert f"net.pt2 calls the operator {operator}, which another library brings" in reason.detail


@pytest.mark.parametrize(
    "operator",
    [
        "aten::new_one",
        "prims::new_one",
        "quantized::conv2d_dynamic",
        "quantized_decomposed::quantize_per_tensor",
        "sparse::qlinear",
        "prepacked::linear_clamp_run",
        "mkldnn::_linear_pointwise",
        "onednn::qconv2d_pointwise",
        "c10d::allreduce_",
        "_c10d_functional::all_reduce",
    ],
)
@pytest.mark.parametrize(
    "message", ["Unknown builtin op: {script}.", "Node(target='torch.ops.{node}.default', inputs=[]) SerializeError: x"]
)
def test_an_operator_of_torch_that_this_version_does_not_know_is_a_matter_of_versions(message: str, operator: str) -> None:
    said = message.format(script=operator, node=operator.replace("::", "."))
    assert "was made by a version of torch" in explain_load(RuntimeError(said), "net.pt2", "2.13.0", "cpu").detail
