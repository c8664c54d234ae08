"""Names the columns of the CSV that samplers fill, whatever the kind of work."""

from __future__ import annotations

from collections.abc import Mapping

from shared.telemetry import ENERGY, ENERGY_PER_TOKEN, GPU_MEMORY, GPU_PERCENT, GPU_TEMPERATURE, POWER, SOURCE_KEY

# This maps each figure to its column, and to the number of digits behind the point.
SAMPLED: Mapping[str, tuple[str, int]] = {
    GPU_PERCENT: ("GpuPercent", 1),
    GPU_TEMPERATURE: ("GpuTemperatureMaxC", 1),
    POWER: ("PowerWAverage", 3),
    ENERGY: ("EnergyJPerInference", 9),
    ENERGY_PER_TOKEN: ("EnergyJPerToken", 12),
    GPU_MEMORY: ("PeakGpuMemoryMb", 3),
}
ENERGY_SOURCE = SOURCE_KEY  # the fact that says where the energy comes from: `counter`, `integrated` or `estimated`
