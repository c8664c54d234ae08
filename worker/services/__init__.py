"""Starts servers for a load: one file for each type of service. `registry` finds a type by its name."""
