"""Describes the services that can be put under load: one file for each type. `registry` finds a type by its name.

A description holds no code that talks to a service. Drivers (`worker/drivers/`) send requests, and `worker/services/` starts servers.
"""
