"""Implements the command line `fleetmark`. It is a client of the REST API, and can start the parts of Fleetmark on this machine."""
