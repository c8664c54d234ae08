"""Judges results: whether a campaign got worse than another, and how its cells differ. All functions are pure.

A verdict never rests on a figure that is missing. Without evidence, the answer is INCONCLUSIVE.
"""
