"""Decides which capabilities this worker offers: those that the device supports and for which this version has an engine."""

from __future__ import annotations

from dataclasses import dataclass

from worker.engines.registry import ENGINES
from worker.hardware import Hardware
from worker.hardware_tests.registry import TESTS


@dataclass(frozen=True)
class Offer:
    """Says whether a capability is offered, and if not, why."""

    capability: str
    offered: bool
    why: str = ""


def offers(hardware: Hardware) -> list[Offer]:
    """Return every known capability, in the order of the table."""
    answers: list[Offer] = []
    for capability, found in hardware.found().items():
        if not found.present:
            answers.append(Offer(capability, False, found.why))
        elif capability not in ENGINES and capability not in TESTS:
            answers.append(Offer(capability, False, "the device could; this version has no engine for it"))
        else:
            answers.append(Offer(capability, True))
    return answers


def offered(hardware: Hardware) -> list[str]:
    return [offer.capability for offer in offers(hardware) if offer.offered]
