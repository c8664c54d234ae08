"""Models on this device: fetched, verified, and kept by their content."""

from worker.models.store import FetchedModel, ModelStore, Own

__all__ = ["FetchedModel", "ModelStore", "Own"]
