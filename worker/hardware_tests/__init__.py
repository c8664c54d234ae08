"""Measures the device itself: memory bandwidth, floating-point operations per second, and latencies. One file for each test and device."""
