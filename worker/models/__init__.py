"""Models on this device. They are fetched, verified, and kept by their content."""

from worker.models.fetched import FetchedModel
from worker.models.store import ModelStore, Own

__all__ = ["FetchedModel", "ModelStore", "Own"]
