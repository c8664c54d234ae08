"""Defines the columns of telemetry. They are plain data classes, because the process that samples does not import pydantic.

The import of pydantic takes 50 ms of CPU time, and that process starts beside every measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["value", "use", "memory", "temperature", "power", "energy", "ours"]
Feeds = Literal["", "cpu", "gpu", "board"]


@dataclass(frozen=True)
class Column:
    """Describes one column of samples.

    Attributes:
        source: the name of the sampler that reads it.
        device: the UUID of a GPU, or the name of a rail; empty for the whole machine.
        role: what figures may take it for: use in percent, memory in MB, temperature in °C, power in W, energy in J (it only grows), or
            `ours`, which is above 0 while processes of the job use the device. A `value` enters no figure.
        feeds: what it belongs to, so that a job on a GPU takes the figures of a GPU.
        chosen: whether this is the device that the job uses; None if that is not known in advance.
        step_s: how often an energy counter steps, where its maker documents it.
        period_s: how often it is read, if that is less often than the other columns; between, its values are null.
        missing: why it is null, from the start or since some moment.
    """

    name: str
    unit: str
    source: str
    device: str = ""
    role: Role = "value"
    feeds: Feeds = ""
    chosen: bool | None = None
    step_s: float | None = None
    period_s: float | None = None
    missing: str = ""
