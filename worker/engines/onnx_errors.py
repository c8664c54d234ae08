"""What ONNX Runtime's messages mean, for a person.

The runtime's exceptions carry one line such as `[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an
implementation for Foo(1) node with name ''`. The words are taken from versions 1.20 to 1.31; a message that none of
the patterns knows is passed on as it is.
"""

from __future__ import annotations

import re

from shared.errors import EngineUnavailable, JobError, ModelInvalid

_MISSING_KERNEL = re.compile(r"(?:Could not find an implementation for|Failed to find kernel for) (?P<operator>[\w.:]+)\(")
_UNKNOWN_OPERATOR = re.compile(r"No Op registered for (?P<operator>\S+)(?: with domain_version of (?P<version>\d+))?")
_UNKNOWN_DOMAIN = re.compile(r"Fatal error: (?P<operator>[\w.:]+)\(-?\d+\) is not a registered function/op")
_OPSET = re.compile(
    r"Opset (?P<opset>\d+) is under development|opset(?: version)? (?P<other>\d+) .*(?:not supported|unsupported)", re.IGNORECASE
)
_IR_VERSION = re.compile(r"Unsupported model IR version: (?P<ir>\d+), max supported IR version: (?P<most>\d+)")
_EXTERNAL = re.compile(r"(?:External data path|external data|External initializer).*", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"bad_?alloc|Failed to allocate memory|out of memory", re.IGNORECASE)
_BAD_INPUT = re.compile(r"(?:Got invalid dimensions|Invalid rank) for input: (?P<input>\S+)", re.IGNORECASE)
_PATH = re.compile(r"Load model from .*? failed: ?")
_STATUS = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (?P<status>\w+) : ")


def explain(error: Exception, model: str, version: str) -> JobError:
    """The job's error for one that the runtime raised on `model`; `version` is the runtime's."""
    text = str(error).strip()
    status = _STATUS.match(text)
    plain = _PATH.sub("", text[status.end() :] if status else text)
    runtime = f"ONNX Runtime {version}"
    for pattern in (_UNKNOWN_OPERATOR, _UNKNOWN_DOMAIN, _MISSING_KERNEL):
        if found := pattern.search(text):
            opset = found.groupdict().get("version")
            of_opset = f" of opset {opset}" if opset else ""
            return ModelInvalid(
                f"{model} needs the operator {found['operator']}{of_opset}, which {runtime} does not have: "
                f"export the model without it, or run it on a worker with a runtime that has it. ({plain})"
            )
    if found := _IR_VERSION.search(text):
        return ModelInvalid(
            f"{model} has the ONNX IR version {found['ir']}; {runtime} reads up to {found['most']}: export it for an older "
            "version, or update onnxruntime on the worker"
        )
    if found := _OPSET.search(text):
        return ModelInvalid(
            f"{model} uses opset {found['opset'] or found['other']}, newer than {runtime} supports: export it for an older opset, "
            f"or update onnxruntime on the worker. ({plain})"
        )
    if _OUT_OF_MEMORY.search(text):
        return ModelInvalid(f"{model} does not fit into the memory of this device: {plain}")
    if "INVALID_PROTOBUF" in text or "Protobuf parsing failed" in text:
        return ModelInvalid(f"{model} is no ONNX model, or a truncated one: {runtime} cannot parse it")
    if _EXTERNAL.search(text):
        return ModelInvalid(f"{model} keeps its weights in files beside it, and one cannot be read: {plain}")
    if found := _BAD_INPUT.search(text):
        return ModelInvalid(
            f"{model} does not take this shape for its input {found['input']}: {plain}; change options.shapes or options.batch_size"
        )
    return ModelInvalid(f"{runtime} cannot run {model}: {plain}")


def fell_back(provider: str, active: list[str], capability: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"{provider} fell back: {capability} was asked for, but the session runs on {', '.join(active)}. "
        "Nothing was measured; check the driver and the libraries of that provider (`fleetmark doctor`)"
    )
