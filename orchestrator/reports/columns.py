"""Defines the columns of the CSV. All kinds of work have the same header.

A row is a dict of plain JSON values (`None` for an empty cell). So it can be stored with the result and streamed without reading the
result again. Times are in milliseconds, `Peak…` in MB (2^20 bytes), `Ram` in GB (2^30 bytes), and `FileSize` in bytes.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

Cell = str | int | float | None
Row = dict[str, Cell]

# People use the columns by name and by position, so a new column must go to the end.
COLUMNS: tuple[str, ...] = (
    *("Status", "JobId", "FileName", "FileSize", "ComputeUnits", "DeviceName", "Soc", "Ram", "DeviceOs"),
    *("LoadMsMedian", "LoadMsAverage", "LoadMsStdDev", "PeakLoadRamUsage"),
    *("InferenceMsMedian", "InferenceMsAverage", "InferenceMsStdDev", "PeakInferenceRamUsage"),
    *("InferenceMsMin", "InferenceMsMax", "InferenceMsP90", "InferenceMsP95", "InferenceMsP99"),
    *("InferenceMsMedianCiLow", "InferenceMsMedianCiHigh", "InferenceMsFirst", "LoadMsFirst"),
    *("Inferences", "Loads", "Repeats", "Outliers", "ThroughputPerS", "CpuPercent", "GpuPercent"),
    *("GpuTemperatureMaxC", "PowerWAverage", "EnergyJPerInference", "CostPer1000"),
    *("InputTokens", "OutputTokens", "TokensPerS", "TtftMsMedian", "TtftMsP99", "RougeL"),
    *("TotalTimeS", "NoiseGrade", "WorkerId", "CampaignId", "Attempt", "CreatedUtc", "Error"),
    # From here on, the columns serve every kind of work. Which of them a job fills is in the sheet of its kind of work.
    *("Kind", "Parameters", "RequestsPerS", "SuccessRate", "ErrorCount", "Concurrency", "RateAsked", "RateAchieved"),
    *("LatencyScheduledMsP50", "LatencyScheduledMsP99", "DispatchDelayMsP99", "ClientCeilingPerS", "ClientBound", "BytesPerS"),
    *("TpotMsMedian", "ItlMsP99", "DecodeTokensPerS", "PrefillTokensPerS", "PeakGpuMemoryMb", "EnergySource", "EnergyJPerToken"),
    *("CostPer1MTokens", "Rouge1", "Rouge2", "RougeLsum", "RecallAtK", "GBPerS", "Tflops", "Provider", "BatchSize", "Threads"),
    *("ModelSha256", "StoppedBecause", "Warnings"),
    *("SamplesPerS", "CostPer1000Samples", "PricePerHour", "PriceSource"),
    *("FoundPercent", "ExactMatchPercent", "RightPercent", "ValidJsonPercent"),
    *("ScoreName", "Score", "ScoreCiLow", "ScoreCiHigh", "Scores"),
)
# These columns can hold text. Some of it is untrusted: names of devices and files, errors.
TEXT_COLUMNS = frozenset(
    {
        *("Status", "JobId", "FileName", "ComputeUnits", "DeviceName", "Soc", "DeviceOs"),
        *("NoiseGrade", "WorkerId", "CampaignId", "CreatedUtc", "Error"),
        *("Kind", "Parameters", "ClientBound", "EnergySource", "Provider", "ModelSha256", "StoppedBecause", "Warnings", "PriceSource"),
        *("ScoreName", "Scores"),
    }
)
# These columns hold whole numbers.
COUNT_COLUMNS = frozenset(
    {
        *("FileSize", "Inferences", "Loads", "Repeats", "Outliers", "InputTokens", "OutputTokens", "Attempt"),
        *("ErrorCount", "Concurrency", "BatchSize", "Threads"),
    }
)


def whole_row(row: Row) -> Row:
    """Return a row with all present columns, in order. A row that an earlier version stored lacks the newer columns."""
    return {name: row.get(name) for name in COLUMNS}


def utc_text(moment: datetime) -> str:
    """Return a moment as ISO 8601 with `Z` and milliseconds. Such texts sort by time, and spreadsheets can read them."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms_cell(value: float | None) -> float | None:
    return rounded(value, 6)  # rounded to 1 ns, the resolution of the clock


def rounded(value: float | None, digits: int) -> float | None:
    """Return a number for a cell. The cell is empty if the number is not known or not finite."""
    return round(value, digits) if value is not None and math.isfinite(value) else None
