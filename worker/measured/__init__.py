"""Contains what the code of every kind of work may use inside a measured process: the request, the hot loop and the memory meter.

Nothing here imports pydantic or numpy. The guard imports this package, and the memory of the guard is the baseline of each measured
process.
"""
