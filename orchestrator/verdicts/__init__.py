"""Judges results: whether a campaign got worse than another, and how its cells differ. Pure: figures in, verdicts with their evidence out.

A verdict never rests on a figure that is missing. Without evidence, the answer is INCONCLUSIVE.
"""
