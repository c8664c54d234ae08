"""Judges what language models wrote. It runs after the measurement, in a process of its own, and may be repeated at any time."""
