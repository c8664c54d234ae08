"""Reads the NVIDIA GPUs from `nvidia-smi -q -x`, the program that comes with the driver. It is the last one that is asked.

The elements are those of NVIDIA's nvsmi_device_v12.dtd, and of version 11 where it named them differently. A value has its unit behind it
(`81559 MiB`); `N/A` and similar words mean that the device does not have it. The compute capability is not among the elements, so the
generation of the tensor cores follows the architecture.
"""

from __future__ import annotations

import subprocess
from xml.etree import ElementTree

from worker.hardware.gpu import TENSOR_CORES, Answer, Gpu

COMMAND = ("nvidia-smi", "-q", "-x")
TIMEOUT_S = 30  # the driver may have to be loaded first

# This is the compute capability that the architecture begins with.
ARCHITECTURES = {"Volta": (7, 0), "Turing": (7, 5), "Ampere": (8, 0), "Ada Lovelace": (8, 9), "Hopper": (9, 0), "Blackwell": (10, 0)}


def ask_nvidia_smi() -> Answer:
    """Return every GPU that nvidia-smi lists. That it is missing, fails or writes something else is reported in `note`, not raised."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return Answer(note="nvidia-smi is not installed")
    except OSError as error:
        return Answer(note=f"nvidia-smi does not start: {error}")
    except subprocess.TimeoutExpired:
        return Answer(note=f"nvidia-smi did not answer within {TIMEOUT_S} s")
    if done.returncode != 0:
        said = ((done.stdout + done.stderr).strip().splitlines() or ["nothing"])[0]
        return Answer(note=f"nvidia-smi ended with exit code {done.returncode}: {said}")
    return parse(done.stdout)


def parse(text: str) -> Answer:
    """Return the GPUs of a log in XML."""
    try:
        log = ElementTree.fromstring(text)  # noqa: S314 - the output of a program of this machine, which loads nothing from elsewhere
    except ElementTree.ParseError as error:
        return Answer(note=f"nvidia-smi wrote no XML: {error}")
    devices: list[Gpu] = []
    errors: list[str] = []
    for index, element in enumerate(log.iter("gpu")):
        total = _number(element, "fb_memory_usage/total")
        if total is None:
            errors.append(f"GPU {index}: no memory is given")
            continue
        devices.append(_gpu(index, element, total))
    driver = (log.findtext("driver_version") or "").strip()
    return Answer(tuple(devices), driver, "" if devices or errors else "nvidia-smi lists no GPU", tuple(errors))


def _gpu(index: int, element: ElementTree.Element, total_mb: float) -> Gpu:
    first = ARCHITECTURES.get(_text(element, "product_architecture"))
    generation, precisions = next(((number, has) for start, number, has in TENSOR_CORES if start == first), (None, ()))
    return Gpu(
        index=index,
        name=_text(element, "product_name"),
        uuid=_text(element, "uuid"),
        memory_total_mb=total_mb,
        memory_free_mb=_number(element, "fb_memory_usage/free"),
        compute_capability="",
        tensor_core_generation=generation,
        supported_precisions=precisions,
        temperature_c=_number(element, "temperature/gpu_temp"),
        power_usage_w=_number(
            element,
            *("gpu_power_readings/instant_power_draw", "gpu_power_readings/average_power_draw", "gpu_power_readings/power_draw"),
            "power_readings/power_draw",
        ),
        utilization_gpu=_number(element, "utilization/gpu_util"),
        ecc=_switch(element, "ecc_mode/current_ecc"),
        mig=_switch(element, "mig_mode/current_mig"),
        clock_sm_mhz=_number(element, "clocks/sm_clock"),
        clock_sm_max_mhz=_number(element, "max_clocks/sm_clock"),
        clock_memory_mhz=_number(element, "clocks/mem_clock"),
        clock_memory_max_mhz=_number(element, "max_clocks/mem_clock"),
        power_limit_w=_number(
            element, "gpu_power_readings/current_power_limit", "power_readings/enforced_power_limit", "power_readings/power_limit"
        ),
        power_limit_default_w=_number(element, "gpu_power_readings/default_power_limit", "power_readings/default_power_limit"),
        temperature_limit_c=_number(element, "temperature/gpu_temp_slow_threshold"),
    )


def _text(element: ElementTree.Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    return "" if text.strip("[]") in ("N/A", "Not Supported", "Unknown Error") else text


def _number(element: ElementTree.Element, *paths: str) -> float | None:
    """Return the number of the first path that has one, without its unit."""
    for path in paths:
        words = _text(element, path).split()
        try:
            return float(words[0])
        except (IndexError, ValueError):
            continue
    return None


def _switch(element: ElementTree.Element, path: str) -> bool | None:
    return {"Enabled": True, "Disabled": False}.get(_text(element, path))
