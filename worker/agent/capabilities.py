"""Decides which capabilities this worker offers: those on which this version can really do work here."""

from __future__ import annotations

from dataclasses import dataclass

from shared.capabilities import LABELS, kinds_of
from shared.kinds.inference import Inference
from worker.access import WHITE_BOX, Access
from worker.hardware import Hardware
from worker.kinds.registry import why_not


@dataclass(frozen=True)
class Offer:
    """Says whether a capability is offered, and if not, why."""

    capability: str
    offered: bool
    why: str = ""


def offers(hardware: Hardware, access: Access = WHITE_BOX) -> list[Offer]:
    """Return every known capability, in the order of the table.

    Args:
        access: What this worker can see. What it may not offer is not looked for.
    """
    reasons = {capability: access.why_not(capability) or why_not(capability, hardware) for capability in LABELS}
    return [Offer(capability, not why, why) for capability, why in reasons.items()]


def offered(hardware: Hardware, access: Access = WHITE_BOX) -> list[str]:
    return [offer.capability for offer in offers(hardware, access) if offer.offered]


def takes_models(capability: str) -> bool:
    """Return whether a capability runs models, as most people start a worker to do."""
    return Inference.name in kinds_of(capability)
