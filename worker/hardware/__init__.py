"""Finds out what this device is and what it can do, without importing a runtime into the worker's own process."""

from worker.hardware.device import Hardware, detect
from worker.hardware.identity import Identity, IdentityError

__all__ = ["Hardware", "Identity", "IdentityError", "detect"]
