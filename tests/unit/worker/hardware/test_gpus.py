from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cuda_double import cuda_torch
from tests.nvml_double import Card, nvml
from worker.hardware.gpus import Answer, Gpu, Gpus, read_gpus
from worker.hardware.nvidia_smi import ask_nvidia_smi, parse
from worker.hardware.nvml import ask_nvml
from worker.hardware.one_gpu import open_gpu
from worker.hardware.torch_gpus import _gpu, ask_torch, list_devices

# This was written after nvsmi_device_v12.dtd, the definition that the output itself names.
LOG = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <timestamp>Mon Nov 30 06:00:00 2026</timestamp>
  <driver_version>580.65.06</driver_version>
  <cuda_version>13.0</cuda_version>
  <attached_gpus>2</attached_gpus>
  <gpu id="00000000:01:00.0">
    <product_name>NVIDIA H200</product_name>
    <product_architecture>Hopper</product_architecture>
    <mig_mode><current_mig>Disabled</current_mig><pending_mig>Disabled</pending_mig></mig_mode>
    <uuid>GPU-1</uuid>
    <clocks_event_reasons><clocks_event_reason_gpu_idle>Active</clocks_event_reason_gpu_idle></clocks_event_reasons>
    <fb_memory_usage><total>143771 MiB</total><reserved>771 MiB</reserved><used>0 MiB</used><free>143000 MiB</free></fb_memory_usage>
    <utilization><gpu_util>12 %</gpu_util><memory_util>3 %</memory_util></utilization>
    <ecc_mode><current_ecc>Enabled</current_ecc><pending_ecc>Enabled</pending_ecc></ecc_mode>
    <temperature><gpu_temp>31 C</gpu_temp><gpu_temp_max_threshold>92 C</gpu_temp_max_threshold>
      <gpu_temp_slow_threshold>87 C</gpu_temp_slow_threshold></temperature>
    <gpu_power_readings><power_state>P0</power_state><average_power_draw>N/A</average_power_draw>
      <instant_power_draw>75.50 W</instant_power_draw><current_power_limit>650.00 W</current_power_limit>
      <default_power_limit>700.00 W</default_power_limit></gpu_power_readings>
    <clocks><graphics_clock>1755 MHz</graphics_clock><sm_clock>1755 MHz</sm_clock><mem_clock>3201 MHz</mem_clock></clocks>
    <max_clocks><graphics_clock>1980 MHz</graphics_clock><sm_clock>1980 MHz</sm_clock><mem_clock>3201 MHz</mem_clock></max_clocks>
  </gpu>
  <gpu id="00000000:02:00.0">
    <product_name>NVIDIA GeForce GTX 1650</product_name>
    <product_architecture>Turing</product_architecture>
    <mig_mode><current_mig>N/A</current_mig><pending_mig>N/A</pending_mig></mig_mode>
    <uuid>GPU-2</uuid>
    <fb_memory_usage><total>4096 MiB</total><used>96 MiB</used><free>4000 MiB</free></fb_memory_usage>
    <utilization><gpu_util>N/A</gpu_util></utilization>
    <ecc_mode><current_ecc>N/A</current_ecc><pending_ecc>N/A</pending_ecc></ecc_mode>
    <temperature><gpu_temp>45 C</gpu_temp></temperature>
    <power_readings><power_draw>[Not Supported]</power_draw><power_limit>75.00 W</power_limit></power_readings>
    <clocks><sm_clock>300 MHz</sm_clock></clocks>
  </gpu>
</nvidia_smi_log>
"""


def test_nvml_tells_everything_about_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(Card()))
    (gpu,) = ask_nvml().devices
    assert gpu == Gpu(
        *(0, "NVIDIA H200", "GPU-1", 143_771.0, 143_000.0, "9.0", 4, ("TF32", "BF16", "FP16", "FP8", "INT8"), 31.0, 75.5, 12.0),
        ecc=True, mig=False, clock_sm_mhz=1_755.0, clock_sm_max_mhz=1_980.0, clock_memory_mhz=3_201.0, clock_memory_max_mhz=3_201.0,
        power_limit_w=650.0, power_limit_default_w=700.0, temperature_limit_c=87.0,
    )  # fmt: skip


def test_nvidia_smi_tells_the_same_as_nvml_but_for_the_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(Card()))
    answer = parse(LOG)
    assert answer.driver == "580.65.06"
    assert answer.devices[0].compute_capability == ""
    assert answer.devices[0].filled_from(ask_nvml().devices[0]) == ask_nvml().devices[0]


def test_what_a_gpu_does_not_support_is_null_in_the_log() -> None:
    gpu = parse(LOG).devices[1]
    assert (gpu.tensor_core_generation, gpu.temperature_c, gpu.power_limit_w) == (2, 45.0, 75.0)
    assert (gpu.ecc, gpu.mig, gpu.utilization_gpu, gpu.power_usage_w, gpu.clock_sm_max_mhz) == (None,) * 5


def test_a_query_that_nvml_refuses_is_null_and_the_rest_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = frozenset({"nvmlDeviceGetEccMode", "nvmlDeviceGetMigMode", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetClockInfo"})
    monkeypatch.setitem(sys.modules, "pynvml", nvml(Card(unsupported=lacks)))
    (gpu,) = ask_nvml().devices
    assert (gpu.ecc, gpu.mig, gpu.power_usage_w, gpu.clock_sm_mhz) == (None, None, None, None)
    assert (gpu.clock_sm_max_mhz, gpu.temperature_c) == (1_980.0, 31.0)


def test_a_gpu_that_cannot_be_read_is_an_error_and_the_other_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Card(unsupported=frozenset({"nvmlDeviceGetMemoryInfo"}))
    monkeypatch.setitem(sys.modules, "pynvml", nvml(lost, Card(uuid="GPU-2")))
    found = read_gpus()
    assert [gpu.uuid for gpu in found.devices] == ["GPU-2"]
    assert found.errors == ("GPU 0: Not Supported",)
    assert found.said["NVML"] == "1 found; GPU 0: Not Supported"


@pytest.mark.parametrize(("text", "note"), [("", "wrote no XML"), ("No devices were found", "wrote no XML"), ("<x/>", "lists no GPU")])
def test_a_text_that_is_no_log_becomes_a_note(text: str, note: str) -> None:
    assert note in parse(text).note


@pytest.mark.parametrize(
    ("script", "note"),
    [
        (
            "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9",
            "ended with exit code 9: NVIDIA-SMI has failed",
        ),
        ("exit 0", "wrote no XML"),
    ],
)
def test_a_program_that_fails_is_a_note(script: str, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(script, tmp_path, monkeypatch)
    assert note in ask_nvidia_smi().note


def test_a_real_process_is_started_and_its_log_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.xml").write_text(LOG)
    install(f'test "$*" = "-q -x" && cat {tmp_path}/log.xml', tmp_path, monkeypatch)
    assert [gpu.name for gpu in ask_nvidia_smi().devices] == ["NVIDIA H200", "NVIDIA GeForce GTX 1650"]


def install(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_torch_tells_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", cuda_torch())
    (device,) = list_devices()
    gpu = _gpu(device)
    assert (gpu.name, gpu.uuid, gpu.compute_capability, gpu.tensor_core_generation) == ("NVIDIA Double", "GPU-1234", "8.0", 3)
    assert (gpu.memory_total_mb, gpu.memory_free_mb, gpu.temperature_c) == (80 * 1024, 40 * 1024, None)


def test_a_torch_without_cuda_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.hardware.torch_gpus.version", lambda _name: "2.13.0+cpu")
    assert ask_torch() == Answer(note="torch 2.13.0+cpu was built without CUDA")


def test_a_torch_that_does_not_import_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.hardware.torch_gpus.version", lambda _name: "2.13.0")
    monkeypatch.setattr("worker.hardware.torch_gpus.python_command", lambda *_: [sys.executable, "-c", "raise ImportError('libcuda.so.1')"])
    assert ask_torch().note == "torch ended with exit code 1: ImportError: libcuda.so.1"


def gpu_of(uuid: str = "GPU-1", **known: object) -> Gpu:
    return Gpu(0, "NVIDIA H200", uuid, 143_771.0, 143_000.0, "9.0", 4, ("FP8",), None, None, None, **known)  # type: ignore[arg-type]


def test_the_first_that_knows_a_device_is_believed_and_the_next_are_not_asked() -> None:
    def never() -> Answer:
        raise AssertionError("this one must not be asked")

    found = read_gpus({"NVML": lambda: Answer((gpu_of(clock_sm_mhz=1.0),), "580"), "torch": never, "nvidia-smi": never})
    assert (len(found.devices), found.driver, found.note) == (1, "580", "")
    assert found.said == {
        "NVML": "1 found",
        "torch": "not asked, because the devices are known",
        "nvidia-smi": "not asked, because the devices are known",
    }


def test_what_torch_does_not_know_comes_from_nvidia_smi() -> None:
    sources = {
        "NVML": lambda: Answer(note="nvidia-ml-py is not installed"),
        "torch": lambda: Answer((gpu_of(),)),
        "nvidia-smi": lambda: parse(LOG),
    }
    found = read_gpus(sources)
    (gpu,) = found.devices
    assert (gpu.compute_capability, gpu.temperature_c, gpu.ecc, gpu.power_limit_w) == ("9.0", 31.0, True, 650.0)
    assert found.driver == "580.65.06"
    assert list(found.said) == ["NVML", "torch", "nvidia-smi"]


def test_without_a_gpu_the_note_says_what_each_one_said() -> None:
    found = read_gpus(
        {"NVML": lambda: Answer(note="NVML: Driver Not Loaded"), "nvidia-smi": lambda: Answer(note="nvidia-smi is not installed")}
    )
    assert found.note == "NVML: Driver Not Loaded; nvidia-smi is not installed"


def test_the_present_state_does_not_start_torch_again_and_keeps_a_gpu_that_vanished() -> None:
    before = Gpus((gpu_of(),), "580", said={"torch": "1 found"})

    def never() -> Answer:
        raise AssertionError("torch must not be started while a worker works")

    gone = {
        "NVML": lambda: Answer(note="NVML: GPU is lost"),
        "torch": never,
        "nvidia-smi": lambda: Answer(note="nvidia-smi is not installed"),
    }
    assert before.now(gone) == before
    back = {"NVML": lambda: Answer((gpu_of(clock_sm_mhz=5.0),)), "torch": never}
    assert before.now(back).devices[0].clock_sm_mhz == 5.0


def test_one_gpu_is_found_by_its_id_and_the_only_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(Card(uuid="GPU-1"), Card(uuid="GPU-2", power_mw=10_000)))
    chosen = open_gpu("GPU-2")
    assert chosen is not None
    assert chosen.power_w() == 10.0
    assert open_gpu("GPU-3") is None
    assert open_gpu("") is None
    monkeypatch.setitem(sys.modules, "pynvml", nvml(refuse="Driver Not Loaded"))
    assert open_gpu("GPU-1") is None
