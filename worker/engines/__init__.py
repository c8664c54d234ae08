"""Contains the engines, which run a model in the measured process. Get one by its capability, through `registry.resolve`."""
