"""Says what a measurement cost: the price of an hour of the device, and where that price comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.labels import PRICE_LABEL, price_in
from shared.protocol.messages import Device

SETTING = "FLEETMARK_WORKER_PRICE_PER_HOUR"


@dataclass(frozen=True, slots=True)
class Price:
    """Holds the price of one hour of a device, in any one currency, and who said it."""

    per_hour: float
    source: str

    def of_1000(self, per_s: float | None) -> float | None:
        """Return the price of 1 000 pieces of work of which the device does `per_s` each second, or None if that is no known number."""
        price = self.per_hour / 3600 * 1000 / per_s if per_s else math.inf
        return float(f"{price:.12g}") if math.isfinite(price) else None  # digits, not decimals: a fast device costs billionths


def price_of(device: Device) -> Price | None:
    """Return the price of a device at the time of the result: by its worker's setting, else by its label, else None.

    A label that is not a price, such as `cheap`, gives None (see `shared.labels.why_no_price`).
    """
    if device.price_per_hour is not None:
        return Price(device.price_per_hour, SETTING)
    price = price_in(device.labels)
    return None if price is None else Price(price, f"the label {PRICE_LABEL}")
