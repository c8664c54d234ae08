"""Reads the NVIDIA GPUs through torch, in a process of its own, so that the worker neither loads torch nor holds a CUDA context."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from worker.hardware.gpu import Answer, Gpu, tensor_cores
from worker.interpreter import python_command

TIMEOUT_S = 180  # the first use of CUDA may load a gigabyte of libraries from a slow disk


def ask_torch() -> Answer:
    """Return every CUDA device that torch can use. That it is missing or fails is reported in `note`, not raised."""
    try:
        installed = version("torch")
    except PackageNotFoundError:
        return Answer(note="torch is not installed")
    if installed.endswith("+cpu"):
        return Answer(note=f"torch {installed} was built without CUDA")
    try:
        done = subprocess.run(
            python_command("worker.hardware.torch_gpus"),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Answer(note=f"torch did not answer within {TIMEOUT_S} s")
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        return Answer(note=f"torch ended with exit code {done.returncode}: {said}")
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return Answer(tuple(_gpu(device) for device in found), note="" if found else f"torch {installed} sees no CUDA device")


def list_devices() -> list[dict[str, Any]]:
    """Return what torch says about each device. This runs in the process of its own."""
    torch: Any = importlib.import_module("torch")
    if torch.version.hip is not None or not torch.cuda.is_available():  # a build for ROCm uses the same names for AMD's GPUs
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        uuid = getattr(properties, "uuid", None)
        found.append(
            {
                "index": index,
                "name": str(properties.name),
                "uuid": "" if uuid is None else f"GPU-{uuid}",
                "total_bytes": int(properties.total_memory),
                "free_bytes": int(torch.cuda.mem_get_info(index)[0]),
                "capability": [int(properties.major), int(properties.minor)],
            }
        )
    return found


def _gpu(device: dict[str, Any]) -> Gpu:
    major, minor = device["capability"]
    generation, precisions = tensor_cores(major, minor)
    return Gpu(
        index=device["index"],
        name=device["name"],
        uuid=device["uuid"],
        memory_total_mb=device["total_bytes"] / 2**20,
        memory_free_mb=device["free_bytes"] / 2**20,
        compute_capability=f"{major}.{minor}",
        tensor_core_generation=generation,
        supported_precisions=precisions,
        temperature_c=None,
        power_usage_w=None,
        utilization_gpu=None,
    )


def main(_arguments: list[str]) -> None:
    sys.stdout.write(json.dumps(list_devices()) + "\n")
