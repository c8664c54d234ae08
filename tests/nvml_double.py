"""Is a double of NVIDIA's `pynvml` with the functions that we use, as its documentation describes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """Is raised by every function that the driver does not answer."""


@dataclass
class Card:
    """Describes one GPU. The functions named in `unsupported` raise an error, as for a device that has no such sensor."""

    uuid: str = "GPU-1"
    name: str = "NVIDIA H200"
    total: int = 143_771 * 2**20
    free: int = 143_000 * 2**20
    capability: tuple[int, int] = (9, 0)
    power_mw: int = 75_500
    reasons: int = 0
    unsupported: frozenset[str] = field(default_factory=frozenset)


def nvml(*cards: Card, refuse: str = "") -> Any:
    """Return the double with these GPUs. With `refuse`, there is no driver, and `nvmlInit` reports that."""

    def init() -> None:
        if refuse:
            raise NVMLError(refuse)

    def by_uuid(uuid: str) -> Card:
        for card in cards:
            if card.uuid == uuid:
                return card
        raise NVMLError("Not Found")

    def of(name: str, read: Callable[[Card], Any]) -> Callable[..., Any]:
        def function(card: Card, *_more: object) -> Any:
            if name in card.unsupported:
                raise NVMLError("Not Supported")
            return read(card)

        return function

    per_clock = {0: 1_980, 2: 3_201}
    answers: dict[str, Callable[[Card], Any]] = {
        "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(total=card.total, free=card.free, used=card.total - card.free),
        "nvmlDeviceGetCudaComputeCapability": lambda card: card.capability,
        "nvmlDeviceGetName": lambda card: card.name,
        "nvmlDeviceGetUUID": lambda card: card.uuid,
        "nvmlDeviceGetTemperature": lambda _: 31,
        "nvmlDeviceGetTemperatureThreshold": lambda _: 87,
        "nvmlDeviceGetPowerUsage": lambda card: card.power_mw,
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=12, memory=3),
        "nvmlDeviceGetEccMode": lambda _: [1, 1],
        "nvmlDeviceGetMigMode": lambda _: [0, 0],
        "nvmlDeviceGetEnforcedPowerLimit": lambda _: 650_000,
        "nvmlDeviceGetPowerManagementDefaultLimit": lambda _: 700_000,
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda card: card.reasons,
    }
    functions = {name: of(name, read) for name, read in answers.items()}
    return SimpleNamespace(
        NVMLError=NVMLError,
        NVML_TEMPERATURE_GPU=0,
        NVML_TEMPERATURE_THRESHOLD_SLOWDOWN=1,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        nvmlInit=init,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(cards),
        nvmlDeviceGetHandleByIndex=lambda index: cards[index],
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlSystemGetDriverVersion=lambda: "580.65.06",
        nvmlDeviceGetClockInfo=lambda card, kind: of("nvmlDeviceGetClockInfo", lambda _: per_clock.get(kind, 1_755))(card),
        nvmlDeviceGetMaxClockInfo=lambda card, kind: of("nvmlDeviceGetMaxClockInfo", lambda _: per_clock.get(kind, 1_980))(card),
        **functions,
    )
