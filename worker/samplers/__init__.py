"""Samples the device beside a measurement: processor, memory, disks, network, GPUs, energy, and a service's own metrics."""
