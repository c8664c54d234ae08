"""Provides the models on this device. They are fetched, verified, and stored by their content hash."""

from worker.models.downloads import Own
from worker.models.fetched import FetchedModel
from worker.models.store import ModelStore

__all__ = ["FetchedModel", "ModelStore", "Own"]
