"""Lists the installed machine learning packages. Only their metadata is read; nothing is imported."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

# Each entry is: display name -> (distribution, whether it is built for a GPU; None where its name does not tell).
KNOWN = {
    "onnxruntime": ("onnxruntime", False),
    "onnxruntime-gpu": ("onnxruntime-gpu", True),
    "onnxruntime-directml": ("onnxruntime-directml", True),
    "onnxruntime-rocm": ("onnxruntime-rocm", True),
    "onnx": ("onnx", False),
    "coremltools": ("coremltools", True),
    "torch": ("torch", None),
    "transformers": ("transformers", None),
    "vllm": ("vllm", True),
    "tensorrt": ("tensorrt", True),
    "tensorflow": ("tensorflow", None),
    "jax": ("jax", None),
    "openvino": ("openvino", None),
    "numpy": ("numpy", False),
}


@dataclass(frozen=True)
class Framework:
    name: str
    version: str
    gpu_support: bool | None  # whether it is built for a GPU; None where the metadata does not tell


def read_frameworks() -> tuple[Framework, ...]:
    found: list[Framework] = []
    for name, (distribution, gpu) in KNOWN.items():
        try:
            installed = version(distribution)
        except PackageNotFoundError:
            continue
        if name == "torch":  # the local version of a CPU build says so: 2.13.0+cpu
            gpu = None if "+" not in installed else "cpu" not in installed.partition("+")[2]
        found.append(Framework(name, installed, gpu))
    return tuple(found)
