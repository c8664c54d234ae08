"""Defines the kinds of work: what one job can measure. A new kind needs one file here, one line in the registry, and a file of the same
name in `worker/kinds/` and in `orchestrator/reports/sheets/`.
"""
