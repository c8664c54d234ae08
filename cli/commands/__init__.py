"""Implements the commands of `fleetmark`, one file for each group."""
