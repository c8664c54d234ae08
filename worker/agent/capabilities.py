"""Decides which capabilities this worker offers: those that an engine of this version can really use on this device."""

from __future__ import annotations

from dataclasses import dataclass

from shared.capabilities import LABELS
from worker.engines.registry import why_not
from worker.hardware import Hardware
from worker.hardware_tests.registry import TESTS
from worker.hardware_tests.registry import why_not as why_not_measured


@dataclass(frozen=True)
class Offer:
    """Says whether a capability is offered, and if not, why."""

    capability: str
    offered: bool
    why: str = ""


def offers(hardware: Hardware) -> list[Offer]:
    """Return every known capability, in the order of the table."""
    reasons = {capability: _why_not(capability, hardware) for capability in LABELS}
    return [Offer(capability, not why, why) for capability, why in reasons.items()]


def _why_not(capability: str, hardware: Hardware) -> str:
    return why_not_measured(capability, hardware) if capability in TESTS else why_not(capability, hardware)


def offered(hardware: Hardware) -> list[str]:
    return [offer.capability for offer in offers(hardware) if offer.offered]
