"""Explains PyTorch's errors to the user: what is wrong, what to do, and then torch's own words. It imports no torch.

The patterns match the messages of versions 2.8 to 2.13. A message that no pattern matches is passed on unchanged.
"""

from __future__ import annotations

import re

from shared.errors import EngineUnavailable, JobError, ModelInvalid

WORDS = 400  # how many characters of torch's own message are kept
_GUARD = re.compile(r"Guard failed: (?P<condition>.+)")
_MEMORY = re.compile(r"out of memory|not enough memory|DefaultCPUAllocator|bad_?alloc|can't allocate", re.IGNORECASE)
_INDEX = re.compile(
    r"index out of range in self|indices? (?:should be|is|are) (?:either )?(?:out of|in) (?:range|bounds)|device-side assert", re.IGNORECASE
)
_TYPES = re.compile(
    r"same dtype|to have the same (?:dtype|type)|expected (?:m1 and m2|scalar type|mat1 and mat2|tensor .* dtype)|should be the same"
    r"|Input type .* and (?:bias|weight) type|_assert_tensor_metadata|dtype mismatch|not implemented for '(?:Half|BFloat16)'",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"mat1 and mat2 shapes|size of tensor|shape '|channels, but got|must match|Sizes of tensors|Expected .*D .*input", re.IGNORECASE
)
_OPERATOR = re.compile(r"(?:Could not run|The operator) '?(?P<operator>aten::[\w.]+)'?")
_META = re.compile(r"on device meta|meta tensor|to the meta device", re.IGNORECASE)
# The namespaces in which torch itself registers operators. A version or a build of torch may lack some of them.
_OWN = (
    r"aten|prims?|higher_order|_?quantized|quantized_decomposed|sparse|prepacked|mkl|mkldnn|mkldnn_prepacked|onednn|vulkan_prepack"
    r"|_?c10d(?:_functional(?:_autograd)?)?|symm_mem|inductor"
)
# An operator that another library has registered, in the text of a node or of TorchScript's parser.
_FOREIGN = re.compile(rf"Node\(target='torch\.ops\.(?P<node>(?!(?:{_OWN})\.)\w+\.\w+)|builtin op: (?P<script>(?!(?:{_OWN})::)\w+::\w+)")
_SCHEMA = re.compile(
    r"archive version|schema version|opset|Unknown builtin op|SerializeError|Unsupported (?:target|operator)", re.IGNORECASE
)
_BROKEN = re.compile(r"PytorchStreamReader|central directory|not found in PT2 archive|invalid load key|miniz|corrupt", re.IGNORECASE)
_PICKLED = re.compile(r"Weights only load failed|weights_only|Unsupported (?:class|global|operand)", re.IGNORECASE)
_COMPILER = re.compile(
    r"InvalidCxxCompiler|No working C\+\+ compiler|CppCompileError|Cannot find a working triton|TritonMissing|C compiler", re.IGNORECASE
)


def explain_load(error: Exception, name: str, version: str, device: str) -> JobError:
    """Return the job's error for an exception while a model was loaded."""
    text = str(error)
    runtime = f"torch {version}"
    if is_out_of_memory(error):
        return _no_room(name, device, text)
    if _PICKLED.search(text):
        return ModelInvalid(
            f"{name} keeps a pickled object that may run code, and a worker opens none: export it with tensors only. {_said(text)}"
        )
    if _BROKEN.search(text):
        return ModelInvalid(f"{name} is damaged or truncated: {runtime} cannot read its archive. {_said(text)}")
    if found := _FOREIGN.search(text):
        operator = found["script"] or found["node"].replace(".", "::")
        return ModelInvalid(
            f"{name} calls the operator {operator}, which another library brings and {runtime} does not have: export the model with "
            f"torch's own operators. {_said(text)}"
        )
    if _SCHEMA.search(text):
        return ModelInvalid(
            f"{name} was made by a version of torch that {runtime} on this worker does not understand: export it with that version, "
            f"or update torch on the worker. {_said(text)}"
        )
    return ModelInvalid(f"{runtime} cannot load {name}: {words_of(text) or type(error).__name__}")


def explain_call(error: Exception, name: str, version: str, device: str, dtype: str | None) -> JobError:
    """Return the job's error for an exception of an inference.

    Args:
        dtype: The type of `options.dtype`. None if the model keeps its own types.
    """
    text = str(error)
    if found := _GUARD.search(text):
        return ModelInvalid(
            f"{name} was exported for inputs with {words_of(found['condition'])}: give options.dims or options.shapes for which that "
            "holds, or export it with dynamic dimensions (dynamic_shapes)"
        )
    if _META.search(text):
        return ModelInvalid(
            f"{name} has weights on the device `meta`, which have no values: load the weights before the export. {_said(text)}"
        )
    if is_out_of_memory(error):
        return _no_room(name, device, text)
    if _INDEX.search(text):
        return ModelInvalid(f"{name} looks up a row that its table does not have: give options.values within the table. {_said(text)}")
    if found := _OPERATOR.search(text):
        return EngineUnavailable(
            f"{name} needs the operator {found['operator']}, which torch {version} does not have on {device}: measure it on cpu.torch, "
            f"or export it without this operator. {_said(text)}"
        )
    if _TYPES.search(text):
        mend = (
            f"its graph has types written into it, so options.dtype {dtype} cannot change all of them: leave it out, "
            f"or export the model in {dtype}"
            if dtype is not None
            else "give inputs of the types that it was exported with (options.values), or export it again"
        )
        return ModelInvalid(f"{name} mixes types of elements: {mend}. {_said(text)}")
    if _SHAPES.search(text):
        return ModelInvalid(f"{name} does not take inputs of these shapes: change options.shapes or options.dims. {_said(text)}")
    return ModelInvalid(f"torch {version} cannot run {name}: {words_of(text) or type(error).__name__}")


def explain_compile(error: Exception, name: str, version: str, mode: str) -> JobError:
    """Return the job's error for an exception while torch.compile worked."""
    text = str(error)
    if _COMPILER.search(text):
        return EngineUnavailable(
            f"options.compile {mode} needs a C++ compiler on the device, and Triton for a GPU; torch {version} finds no such compiler: "
            f"install one (Debian: apt-get install g++), or leave options.compile out. {_said(text)}"
        )
    return ModelInvalid(
        f"torch {version} cannot compile {name} with options.compile {mode}: leave it out, or export it differently. {_said(text)}"
    )


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or _MEMORY.search(str(error)) is not None


def _no_room(name: str, device: str, text: str) -> ModelInvalid:
    return ModelInvalid(f"{name} does not fit into the memory of {device} on this device: take a smaller batch or model. {_said(text)}")


def _said(text: str) -> str:
    return f"torch says: {words_of(text)}"


def words_of(text: str) -> str:
    """Return torch's own words in one line, without its stack."""
    if "TorchScript interpreter" in text:  # its traceback comes first, and the error itself last
        text = text.rpartition("RuntimeError: ")[2]
    plain = " ".join(text.split("\nException raised from")[0].split())
    return plain if len(plain) <= WORDS else f"{plain[:WORDS]} …"
