"""Engines run a model in the measured process. Reach one by its capability, through `registry.resolve`."""
