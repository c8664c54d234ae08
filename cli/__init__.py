"""`fleetmark`: a client of the REST API, and a starter of processes."""
