"""Holds pure decisions without I/O: which jobs a recipe means, where a job may go, and which status may follow another."""
