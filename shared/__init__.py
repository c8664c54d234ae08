"""Holds the types, rules and constants that the orchestrator, the worker and the command line share.

Only `celery_app` connects to another process.
"""
