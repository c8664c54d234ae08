"""The commands of `fleetmark`. Each group of them has a file."""
