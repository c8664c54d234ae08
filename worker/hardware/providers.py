"""Finds out which execution providers of ONNX Runtime really open a session here. Each is tried in a separate process."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from shared.installation import how_to_install
from worker.hardware.short_process import answer_of

CPU = "CPUExecutionProvider"
# These are tried in addition to the CPU's provider. Others are not tried, because no capability stands for them.
TRIED = frozenset(
    {"CUDAExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider"}
)


@dataclass(frozen=True)
class Provider:
    """Describes one execution provider that the runtime lists, and whether it opened a session. `why` is empty if it did."""

    name: str
    opens: bool
    why: str


@dataclass(frozen=True)
class OnnxRuntime:
    version: str = ""  # empty if it is not installed or cannot be imported
    providers: tuple[Provider, ...] = ()
    note: str = ""


def read_onnxruntime() -> OnnxRuntime:
    """Try the CPU provider first, then every other listed provider that belongs to a capability."""
    if find_spec("onnxruntime") is None:
        return OnnxRuntime(note=f"onnxruntime is not installed: {how_to_install('onnx')}")
    first = _try(CPU)
    if "version" not in first:
        return OnnxRuntime(note=f"onnxruntime does not import: {first['error']}")
    providers = [_provider(CPU, first)]
    for name in first["available"]:
        if name == CPU:
            continue
        if name in TRIED:
            providers.append(_provider(name, _try(name)))
        else:
            providers.append(Provider(name, False, "listed by the runtime; no capability stands for it, so it was not tried"))
    return OnnxRuntime(version=first["version"], providers=tuple(providers))


def _provider(name: str, answer: dict[str, Any]) -> Provider:
    return Provider(name, opens=not answer["error"], why=str(answer["error"]))


def _try(provider: str) -> dict[str, Any]:
    return answer_of("worker.hardware.probe", provider, what=provider, library="onnxruntime")
