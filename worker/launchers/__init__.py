"""Runs the servers of services: as a process, or in a container. Whatever runs ends with the worker, also when the worker is killed."""
