"""Finds out which execution providers of ONNX Runtime really open a session here. Each is tried in a separate process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from typing import Any

from shared.installation import how_to_install
from worker.hardware.steering import NO_TELEMETRY
from worker.interpreter import python_command

# The first use of CUDA may compile kernels and load a gigabyte of libraries from a slow SD card.
PROBE_TIMEOUT_S = 180

CAPABILITY_OF_PROVIDER = {
    "CPUExecutionProvider": "cpu.onnx",
    "CUDAExecutionProvider": "gpu.cuda.onnx",
    "ROCMExecutionProvider": "gpu.rocm.onnx",
    "MIGraphXExecutionProvider": "gpu.rocm.onnx",
    "DmlExecutionProvider": "gpu.directml.onnx",
}


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
    first = _try("CPUExecutionProvider")
    if "version" not in first:
        return OnnxRuntime(note=f"onnxruntime does not import: {first['error']}")
    providers = [_provider("CPUExecutionProvider", first)]
    for name in first["available"]:
        if name == "CPUExecutionProvider":
            continue
        if name in CAPABILITY_OF_PROVIDER:
            providers.append(_provider(name, _try(name)))
        else:
            providers.append(Provider(name, False, "listed by the runtime; no capability stands for it, so it was not tried"))
    return OnnxRuntime(version=first["version"], providers=tuple(providers))


def _provider(name: str, answer: dict[str, Any]) -> Provider:
    return Provider(name, opens=not answer["error"], why=str(answer["error"]))


def _try(provider: str) -> dict[str, Any]:
    try:
        environment = dict(os.environ) | NO_TELEMETRY  # noqa: TID251 - passed on unchanged
        child = subprocess.run(
            python_command("worker.hardware.probe", provider),
            env=environment,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"{provider} did not open a session within {PROBE_TIMEOUT_S} s"}
    if child.returncode != 0:
        return {"error": f"the probe of {provider} {_how_it_ended(child.returncode)}: {_last_line(child.stderr)}"}
    answer: dict[str, Any] = json.loads(child.stdout.strip().splitlines()[-1])
    return answer


def _how_it_ended(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else f"signal {-returncode}"
    runtimes = packages_distributions().get("onnxruntime", [])
    return " ".join(["was killed by", name, *(f"in {runtime} {version(runtime)}" for runtime in runtimes[:1])])


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
