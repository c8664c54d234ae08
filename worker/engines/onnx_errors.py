"""Explains ONNX Runtime's errors to the user: what is wrong, what to do, and then the runtime's own words.

The runtime's exceptions carry one line such as `[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for
Foo(1) node with name ''`. The patterns match the messages of versions 1.20 to 1.31. A message that no pattern matches is passed on
unchanged. The messages of failed calls are in `onnx_call_errors`.
"""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from worker.engines.onnx_call_errors import Called, Inputs, explain_call
from worker.engines.onnx_graph.operands import types_given
from worker.engines.onnx_kernels import kernels_of, other_opsets

__all__ = ["Called", "explain"]

WORDS = 400  # how many characters of the runtime's own message are kept
_MISSING_KERNEL = re.compile(
    r"(?:Could not find an implementation for|Failed to find kernel for) (?P<operator>[\w.:]+)\((?P<opset>\d+)\)"
    r"(?: node with name '(?P<name>[^']*)')?"
)
_UNKNOWN_OPERATOR = re.compile(r"No Op registered for (?P<operator>\S+)(?: with domain_version of (?P<version>\d+))?")
_UNKNOWN_DOMAIN = re.compile(r"Fatal error: (?P<operator>[\w.:]+)\(-?\d+\) is not a registered function/op")
_NOT_IMPORTED = re.compile(r"No opset import for domain '(?P<domain>[^']*)'")
_OPSET = re.compile(
    r"Opset (?P<opset>\d+) is under development|opset(?: version)? (?P<other>\d+) .*(?:not supported|unsupported)", re.IGNORECASE
)
_NEWEST_OPSET = re.compile(r"support for domain (?P<domain>\S+) is till opset (?P<most>\d+)")
_IR_VERSION = re.compile(r"Unsupported model IR version: (?P<ir>\d+), max supported IR version: (?P<most>\d+)")
_MISSING_FILE = re.compile(
    r"(?:External data path does not exist: |GetFileLength for |open file |cannot get file size: No such file or directory \[)"
    r"\"?(?P<path>[^\"\]]+?)\"?(?:\]| fail\w*:.*)?$",
    re.IGNORECASE,
)
_EXTERNAL = re.compile(r"(?:External data path|external data|External initializer).*", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"bad_?alloc|Failed to allocate memory|out of memory", re.IGNORECASE)
_BAD_INPUT = re.compile(r"(?:Got invalid dimensions|Invalid rank) for input: (?P<input>\S+)", re.IGNORECASE)
_LOCALE = re.compile(r"Failed to construct locale with name:(?P<locale>[\w.-]+?):")
_PATH = re.compile(r"Load model from .*? failed: ?")
_STATUS = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (?P<status>\w+) : ")
# This matches the place in the runtime's source code: `/…/reshape_helper.h:84 …(…) size != 0 was false. `, `matmul_helper.h:59 Compute `.
_SOURCE_LINE = re.compile(r"/onnxruntime_src/\S+:\d+ (?:.*? was false\. ?|.*?\) (?:const )?(?=[A-Z]))|\b\w+\.(?:cc|h):\d+ \w+ ")

_CONDITION_BEFORE = re.compile(r"\) const |\) |\] ")


def explain(error: Exception, path: Path, version: str, inputs: Inputs | None = None) -> JobError:
    """Return the job's error for an exception of the runtime.

    Args:
        path: The path of the model.
        version: The version of the runtime.
        inputs: The model's inputs as they were called. None if the model has not been called yet.
    """
    model = path.name
    text = str(error).strip()
    status = _STATUS.match(text)
    plain = _words(_PATH.sub("", text[status.end() :] if status else text))
    runtime = f"ONNX Runtime {version}"
    said = f"{runtime} says: {plain}"
    if found := _MISSING_KERNEL.search(text):
        return ModelInvalid(f"{_no_kernel(found, path, runtime)}. {said}")
    for pattern in (_UNKNOWN_OPERATOR, _UNKNOWN_DOMAIN):
        if found := pattern.search(text):
            opset = found.groupdict().get("version")
            of_opset = f" of opset {opset}" if opset else ""
            needed = f"{model} needs the operator {found['operator']}{of_opset}, which {runtime} does not have"
            return ModelInvalid(f"{needed}: {_way_out(found['operator'])}. {said}")
    if found := _LOCALE.search(text):
        return EngineUnavailable(
            f"{model} normalises texts by the rules of the locale {found['locale']}, which this device does not have: install it there "
            f"(on Debian: apt install locales, then locale-gen {found['locale']}), or export the model with the locale C.UTF-8 in its "
            "StringNormalizer, which without any locale takes en_US.UTF-8"
        )
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
        if missing is None and "out of bounds" in text:
            return ModelInvalid(
                f"{model} keeps its weights in files beside it, and one is shorter than the model says, like a download that was cut: "
                f"get the whole file again. {said}"
            )
        which = f"{PureWindowsPath(missing['path']).name!r} is not there" if missing else "one cannot be read"
        return ModelInvalid(
            f"{model} keeps its weights in files beside it, and {which}: put it beside the model, or upload it with the model. {said}"
        )
    if found := _BAD_INPUT.search(text):
        return ModelInvalid(
            f"{model} does not take this shape for its input {found['input']}: change options.shapes or options.dims. {said}"
        )
    if inputs is not None and (meaning := explain_call(text, model, inputs)):
        return ModelInvalid(f"{meaning}. {said}")
    return ModelInvalid(f"{runtime} cannot run {model}: {plain}")


def _words(text: str) -> str:
    plain = " ".join(_SOURCE_LINE.sub("", text).split())
    if plain.endswith("Status Message:") and " was false" in text:  # the condition is all that the runtime says
        plain += f" {_CONDITION_BEFORE.split(text.partition(' was false')[0])[-1]} was false"
    return plain if len(plain) <= WORDS else f"{plain[:WORDS]} …"


def _way_out(operator: str) -> str:
    domain, colon, _ = operator.rpartition(":")
    if colon and domain != "com.microsoft":
        return f"it belongs to {domain!r}, a library of operators that no worker loads, so export the model with standard operators"
    return "update onnxruntime on the worker, or export the model without it"


def _no_kernel(found: re.Match[str], path: Path, runtime: str) -> str:
    """Return the message for a known operator without an implementation: for this opset, for these types, or at all on this provider."""
    operator, opset = found["operator"], int(found["opset"])
    kernels = kernels_of(operator)
    known = sorted({kind for kernel in kernels if kernel.follows(opset) for kind in kernel.kinds})
    needed = f"{path.name} needs the operator {operator} of opset {opset}"
    if kernels and not any(kernel.follows(opset) for kernel in kernels):
        return f"{needed}, and {runtime} has it {other_opsets(opset, kernels)}"
    if not known:
        return f"{path.name} needs the operator {operator}, for which {runtime} has no implementation here: {_way_out(operator)}"
    given = types_given(path, operator.rpartition(":")[2], found["name"] or "")
    of_types = f" for {', '.join(given)}" if given else " for the types that it is given"
    if given and set(given) <= set(known):
        of_types = f" for {', '.join(given)} together"
    return (
        f"{needed}{of_types}, and {runtime} has it for {', '.join(known)} only: "
        f"export the model in one of these types, or update onnxruntime on the worker"
    )
