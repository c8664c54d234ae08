from __future__ import annotations

import platform
import sys
from dataclasses import replace

import psutil
import pytest

from shared.installation import how_to_install
from worker.agent.capabilities import offered, offers
from worker.hardware import Hardware, detect
from worker.hardware.cpu import parse_cpuinfo
from worker.hardware.gpus import Gpu, Gpus, read_gpus, tensor_cores
from worker.hardware.probe import probe
from worker.hardware.providers import OnnxRuntime, Provider
from worker.hardware.system import own_address
from worker.hardware_tests import registry as hardware_tests
from worker.hardware_tests.registry import TESTS, why_not

RASPBERRY_PI = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid asimdrdm asimddp
CPU implementer\t: 0x41

Revision\t: c04170
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


@pytest.fixture(scope="module")
def here() -> Hardware:
    return detect()


def test_this_device_is_described_as_the_system_describes_it(here: Hardware) -> None:
    assert here.cpu.cores_logical == psutil.cpu_count()
    assert here.memory.total_mb == pytest.approx(psutil.virtual_memory().total / 2**20)
    assert here.system.python == platform.python_version()
    assert here.cpu.model not in ("", "unknown")


def test_registration_carries_the_five_keys_of_the_contract(here: Hardware) -> None:
    info = here.device_info("this-device").model_dump()
    assert info["UDID"] == "this-device"
    assert info["Ram"] == pytest.approx(psutil.virtual_memory().total / 2**30, abs=0.01)
    assert info["DeviceOs"] == {"Linux": "Linux", "Darwin": "macOS", "Windows": "Windows"}[platform.system()]
    assert all(info[key] for key in ("Soc", "DeviceOsVersion"))


def test_placement_reads_memory_in_megabytes(here: Hardware) -> None:
    facts = here.for_placement(price_per_hour=0.5)
    assert facts["memory_mb"] == round(psutil.virtual_memory().total / 2**20)
    assert facts["price_per_hour"] == 0.5


def test_the_cpu_provider_really_opens_a_session(here: Hardware) -> None:
    assert "cpu.onnx" in offered(here)
    assert [provider.opens for provider in here.onnxruntime.providers if provider.name == "CPUExecutionProvider"] == [True]


def test_detecting_loads_no_runtime_into_the_worker(here: Hardware) -> None:
    import subprocess

    heavy = "[name for name in ('numpy', 'onnxruntime', 'torch') if name in sys.modules]"
    code = f"import sys; from worker.hardware import detect; detect(); print({heavy})"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_a_provider_that_is_not_there_says_so() -> None:
    found = probe("AbacusExecutionProvider")
    assert "not part of the installed onnxruntime" in found["error"]


def test_a_provider_that_is_listed_and_does_not_open_is_not_offered(here: Hardware) -> None:
    listed = Provider("CUDAExecutionProvider", opens=False, why="it opened no session; the runtime fell back to the CPU")
    device = replace(here, onnxruntime=OnnxRuntime("1.0", (Provider("CPUExecutionProvider", True, ""), listed)))
    answers = {offer.capability: offer for offer in offers(device)}
    assert answers["cpu.onnx"].offered
    assert not answers["gpu.cuda.onnx"].offered
    assert "fell back" in answers["gpu.cuda.onnx"].why


def test_a_provider_that_opens_is_offered(here: Hardware) -> None:
    opened = OnnxRuntime("1.0", (Provider("CPUExecutionProvider", True, ""), Provider("CUDAExecutionProvider", True, "")))
    assert "gpu.cuda.onnx" in offered(replace(here, onnxruntime=opened))


def test_without_a_runtime_nothing_of_it_is_offered_and_the_extra_is_named(here: Hardware) -> None:
    bare = replace(here, onnxruntime=OnnxRuntime(note=f"onnxruntime is not installed: {how_to_install('onnx')}"))
    assert not [name for name in offered(bare) if name.endswith(".onnx")]
    assert "[onnx]" in next(offer.why for offer in offers(bare) if offer.capability == "cpu.onnx")


def test_a_device_measures_itself_where_the_libraries_are(here: Hardware) -> None:
    answers = {offer.capability: offer for offer in offers(here)}
    assert answers["hardware.cpu"].offered
    assert not answers["hardware.cuda"].offered
    assert answers["hardware.cuda"].why


def test_a_gpu_is_measured_only_where_torch_can_compute_on_it(here: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(0, "NVIDIA", "GPU-0", 24_000.0, 24_000.0, "9.0", 4, ("FP16",), None, None, None)
    with_gpu = replace(here, gpus=Gpus((gpu,)))
    assert why_not("hardware.cuda", with_gpu) == "torch is not installed"
    monkeypatch.setattr("worker.hardware_tests.registry.find_spec", lambda _name: object())
    monkeypatch.setattr("worker.engines.torch_presence.why_not", lambda capability, _: f"{capability}: torch was built without CUDA")
    assert why_not("hardware.cuda", with_gpu) == "gpu.cuda.torch: torch was built without CUDA"
    assert why_not("hardware.cuda", replace(here, gpus=Gpus(note="NVML: no driver"))) == "NVML: no driver"


def test_a_test_of_the_device_that_lacks_something_takes_nothing_from_the_others(here: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"odd": hardware_tests.TestEntry("worker.hardware_tests.fake:FakeTest", ("no_such_library",))}
    monkeypatch.setitem(TESTS, "hardware.cpu", TESTS["hardware.cpu"] | more)
    assert why_not("hardware.cpu", here) == ""
    monkeypatch.setitem(TESTS, "hardware.cpu", more)
    assert why_not("hardware.cpu", here) == "no_such_library is not installed"


def test_the_largest_gpu_counts_for_placement(here: Hardware) -> None:
    def gpu(index: int, memory: float) -> Gpu:
        return Gpu(index, "NVIDIA", f"GPU-{index}", memory, memory, "9.0", 4, ("FP16",), None, None, None)

    two = replace(here, gpus=Gpus((gpu(0, 24_000.0), gpu(1, 80_000.0))))
    assert two.for_placement(None)["gpu_memory_mb"] == 80_000


def test_no_gpu_is_an_answer() -> None:
    found = read_gpus()
    assert found.devices or found.note


@pytest.mark.parametrize(
    ("capability", "generation", "has", "lacks"),
    [
        ((9, 0), 4, "FP8", "FP4"),
        ((8, 9), 4, "FP8", "FP4"),
        ((8, 6), 3, "BF16", "FP8"),
        ((7, 5), 2, "INT8", "BF16"),
        ((10, 0), 5, "FP4", "FP64"),
    ],
)
def test_tensor_cores_follow_the_compute_capability(capability: tuple[int, int], generation: int, has: str, lacks: str) -> None:
    found, precisions = tensor_cores(*capability)
    assert found == generation
    assert has in precisions
    assert lacks not in precisions


def test_a_gpu_without_tensor_cores_has_none() -> None:
    assert tensor_cores(6, 1) == (None, ())


def test_a_raspberry_pi_is_known_by_its_board() -> None:
    found = parse_cpuinfo(RASPBERRY_PI)
    assert found["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert "asimddp" in found["features"].split()


def test_the_own_address_is_the_one_the_route_uses() -> None:
    assert own_address("127.0.0.1") == "127.0.0.1"
    assert own_address("no.such.host.invalid") == ""
