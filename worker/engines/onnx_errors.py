"""What ONNX Runtime's messages mean, for a person: what is wrong, what to do, and then the runtime's own words.

The runtime's exceptions carry one line such as `[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an
implementation for Foo(1) node with name ''`. The words are taken from versions 1.20 to 1.31; a message that none of
the patterns knows is passed on as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath

from shared.errors import EngineUnavailable, JobError, ModelInvalid

Shape = Sequence[int | str | None]

WORDS = 400  # characters of the runtime's own that are kept
_MISSING_KERNEL = re.compile(r"(?:Could not find an implementation for|Failed to find kernel for) (?P<operator>[\w.:]+)\(")
_UNKNOWN_OPERATOR = re.compile(r"No Op registered for (?P<operator>\S+)(?: with domain_version of (?P<version>\d+))?")
_UNKNOWN_DOMAIN = re.compile(r"Fatal error: (?P<operator>[\w.:]+)\(-?\d+\) is not a registered function/op")
_NOT_IMPORTED = re.compile(r"No opset import for domain '(?P<domain>[^']*)'")
_OPSET = re.compile(
    r"Opset (?P<opset>\d+) is under development|opset(?: version)? (?P<other>\d+) .*(?:not supported|unsupported)", re.IGNORECASE
)
_NEWEST_OPSET = re.compile(r"support for domain (?P<domain>\S+) is till opset (?P<most>\d+)")
_IR_VERSION = re.compile(r"Unsupported model IR version: (?P<ir>\d+), max supported IR version: (?P<most>\d+)")
_MISSING_FILE = re.compile(
    r"(?:External data path does not exist: |GetFileLength for |open file )\"?(?P<path>[^\"]+?)\"?(?: fail\w*:.*)?$", re.IGNORECASE
)
_EXTERNAL = re.compile(r"(?:External data path|external data|External initializer).*", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"bad_?alloc|Failed to allocate memory|out of memory", re.IGNORECASE)
_BAD_INPUT = re.compile(r"(?:Got invalid dimensions|Invalid rank) for input: (?P<input>\S+)", re.IGNORECASE)
_NODE = re.compile(r"while running (?P<operator>\S+) node\. Name:'(?P<name>[^']*)'")
_SHAPES = re.compile(r"shape|dimension|out of data bounds|broadcast|rank", re.IGNORECASE)
_PATH = re.compile(r"Load model from .*? failed: ?")
_STATUS = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (?P<status>\w+) : ")
# Where in the runtime's sources it happened: `/…/reshape_helper.h:84 …(…) size != 0 was false. `, `matmul_helper.h:59 Compute `.
_SOURCE_LINE = re.compile(r"/onnxruntime_src/\S+:\d+ (?:.*? was false\. ?|.*?\) (?:const )?(?=[A-Z]))|\b\w+\.(?:cc|h):\d+ \w+ ")


def explain(error: Exception, model: str, version: str, free: Mapping[str, tuple[Shape, Sequence[int]]] | None = None) -> JobError:
    """The job's error for one that the runtime raised on `model`.

    Args:
        version: the runtime's.
        free: of each input with symbolic dimensions, its shape in the model and the one it was called with.
    """
    text = str(error).strip()
    status = _STATUS.match(text)
    plain = _words(_PATH.sub("", text[status.end() :] if status else text))
    runtime = f"ONNX Runtime {version}"
    said = f"{runtime} says: {plain}"
    for pattern in (_UNKNOWN_OPERATOR, _UNKNOWN_DOMAIN, _MISSING_KERNEL):
        if found := pattern.search(text):
            opset = found.groupdict().get("version")
            of_opset = f" of opset {opset}" if opset else ""
            needed = f"{model} needs the operator {found['operator']}{of_opset}, which {runtime} does not have"
            return ModelInvalid(f"{needed}: {_way_out(found['operator'])}. {said}")
    if found := _NOT_IMPORTED.search(text):
        return ModelInvalid(
            f"{model} has operators of the domain {found['domain']!r} and names no version of it: export it with standard operators. {said}"
        )
    if found := _IR_VERSION.search(text):
        return ModelInvalid(
            f"{model} has the ONNX IR version {found['ir']}; {runtime} reads up to {found['most']}: export it for an older "
            "version, or update onnxruntime on the worker"
        )
    if found := _OPSET.search(text):
        newest = _NEWEST_OPSET.search(text)
        upto = f", up to {newest['most']} of {newest['domain']}" if newest else ""
        return ModelInvalid(
            f"{model} uses opset {found['opset'] or found['other']}, newer than {runtime} supports{upto}: export it with a lower opset, "
            f"or update onnxruntime on the worker. {said}"
        )
    if _OUT_OF_MEMORY.search(text):
        return ModelInvalid(f"{model} does not fit into the memory of this device: {plain}")
    if "INVALID_PROTOBUF" in text or "Protobuf parsing failed" in text:
        return ModelInvalid(f"{model} is no ONNX model, or a truncated one: {runtime} cannot parse it")
    if _EXTERNAL.search(text) or _MISSING_FILE.search(text):
        missing = _MISSING_FILE.search(text)
        which = f"{PureWindowsPath(missing['path']).name!r} is not there" if missing else "one cannot be read"
        return ModelInvalid(
            f"{model} keeps its weights in files beside it, and {which}: put it beside the model, or upload it with the model. {said}"
        )
    if found := _BAD_INPUT.search(text):
        return ModelInvalid(
            f"{model} does not take this shape for its input {found['input']}: change options.shapes or options.batch_size. {said}"
        )
    if (found := _NODE.search(text)) and _SHAPES.search(text):
        return ModelInvalid(f"{model} cannot be run with these shapes, its {found['operator']} node refuses them: {_to_give(free)}. {said}")
    return ModelInvalid(f"{runtime} cannot run {model}: {plain}")


def _words(text: str) -> str:
    plain = " ".join(_SOURCE_LINE.sub("", text).split())
    return plain if len(plain) <= WORDS else f"{plain[:WORDS]} …"


def _way_out(operator: str) -> str:
    domain, colon, _ = operator.rpartition(":")
    if colon and domain != "com.microsoft":
        return f"it belongs to {domain!r}, a library of operators that no worker loads, so export the model with standard operators"
    return "update onnxruntime on the worker, or export the model without it"


def _to_give(free: Mapping[str, tuple[Shape, Sequence[int]]] | None) -> str:
    if not free:
        return "its inputs have no free dimension, so the model itself is at fault; export it again"
    called = ", ".join(f"{name} was {list(bound)}" for name, (_, bound) in free.items())
    wanted = ", ".join(f"{name}: [{', '.join('?' if part is None else str(part) for part in shape)}]" for name, (shape, _) in free.items())
    return f"{called}; give what its free dimensions need, options.shapes: {{{wanted}}}"


def fell_back(provider: str, active: list[str], capability: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"{provider} fell back: {capability} was asked for, but the session runs on {', '.join(active)}. "
        "Nothing was measured; check the driver and the libraries of that provider (`fleetmark doctor`)"
    )
