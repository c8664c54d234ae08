"""The command line `fleetmark`: it is a client of the REST API, and it starts processes."""
