"""The commands of `fleetmark`, a file for each group of them."""
