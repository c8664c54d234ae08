"""Reads the telemetry of jobs, and writes it as one `telemetry.parquet` for the campaign.

The file has a row for each sample: `job_id`, `attempt`, `repeat` and `phase` (what was measured at that moment), `t` (seconds since the
job's first sample), `gap` (samples before this one are late or missing), `time_utc` (the wall clock's time: that of the first sample, and
`t` after it, so that a clock which is set meanwhile moves no sample), one column for each thing that was sampled on any device, and
`missing`: why columns of this job are null, as `name: reason` in lines. Nothing is interpolated. Only some jobs are in memory at a time.
"""

from __future__ import annotations

import logging
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.reports.bundle import JobRecord
from orchestrator.whole_files import whole_file
from shared.ids import number_of
from shared.storable import storable_text
from shared.telemetry import TELEMETRY_FORMAT, Header, PhaseTime

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
T = TypeVar("T")

FOLDER = "telemetry"
PARQUET = "telemetry.parquet"
PARQUET_FORMAT = 1
# 1: the first format.
OWN_COLUMNS = frozenset({"job_id", "attempt", "repeat", "phase", "t", "gap", "time_utc", "missing"})
LAST_WALL_S = 253_402_300_800.0  # the end of the year 9999, in seconds since 1970: a later time is no time
MAX_BYTES = 256 * 2**20  # the limit of the unpacked arrays of one job: 900 columns of 36 000 samples
MAX_COLUMNS = 2_000  # the limit of one campaign; devices with very many different series lose some
GROUP_ROWS = 50_000
# A damaged archive raises these errors (see `raw_samples`).
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, OverflowError, RuntimeError, MemoryError, struct.error, zlib.error)


@dataclass(frozen=True)
class Telemetry:
    """Holds the samples of one job. `values` has one row for each column of the header."""

    header: Header
    t: NDArray[np.float64]
    gap: NDArray[np.bool_]
    values: NDArray[np.float64]

    def column(self, name: str) -> NDArray[np.float64] | None:
        for place, column in enumerate(self.header.columns):
            if column.name == name:
                found: NDArray[np.float64] = self.values[place]
                return found
        return None


def read_telemetry(folder: Path, job_id: str) -> Telemetry | None:
    """Return the telemetry of a job, or None if there is no file, or a damaged one. The log says what is wrong with a damaged file."""
    return _read(folder / FOLDER / f"{job_id}.npz", _whole)


def read_header(folder: Path, job_id: str) -> Header | None:
    """Return what a job's telemetry consists of, without its samples."""
    return _read(folder / FOLDER / f"{job_id}.npz", _header)


@dataclass(frozen=True)
class Sampled:
    """Names a job whose telemetry has arrived. `name` is what a picture calls it."""

    job_id: str
    attempt: int
    name: str = ""


def sampled_of(job: JobRecord, labels: Mapping[str, str]) -> Sampled:
    result = job.result
    device = labels.get(result.worker_id, result.device.name) if result is not None else ""
    name = " · ".join(filter(None, (f"job {number_of(job.job_id)}", job.name, device)))
    return Sampled(job.job_id, result.attempt if result is not None else job.attempt, name)


def jobs_with_telemetry(folder: Path) -> frozenset[str]:
    """Return the ids of the jobs whose telemetry has arrived."""
    return frozenset(path.stem for path in (folder / FOLDER).glob("*.npz"))


def write_telemetry(folder: Path, jobs: Sequence[Sampled]) -> Path | None:
    """Write `telemetry.parquet`, and return its path. None if no job has telemetry; a file of an earlier time is then removed.

    Args:
        jobs: the jobs whose telemetry has arrived, in the order of the file.

    Raises:
        OSError: the folder cannot be written.
    """
    headers = {job.job_id: header for job in jobs if (header := read_header(folder, job.job_id)) is not None}
    path = folder / PARQUET
    if not headers:
        path.unlink(missing_ok=True)
        return None
    import pyarrow as pa  # 30 MB of memory, which only the process that writes reports needs
    import pyarrow.parquet as pq

    units: dict[str, str] = {}
    for header in headers.values():
        units |= {column.name: column.unit for column in header.columns if column.name not in units}
    if len(units) > MAX_COLUMNS:
        log.warning("%s: %d columns of telemetry are left out; it keeps %d", folder.name, len(units) - MAX_COLUMNS, MAX_COLUMNS)
        units = dict(list(units.items())[:MAX_COLUMNS])
    schema = _schema(pa, units)
    with whole_file(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(_tables(pa, folder, [job for job in jobs if job.job_id in headers], schema, list(units))):
            writer.write_table(pa.concat_tables(group))
    return path


def _tables(arrow: pa, folder: Path, jobs: Sequence[Sampled], schema: pa.Schema, names: Sequence[str]) -> Iterator[pa.Table]:
    for job in jobs:
        if (found := read_telemetry(folder, job.job_id)) is not None:
            yield _table(arrow, job, found, schema, names)


def _groups(tables: Iterator[pa.Table]) -> Iterator[list[pa.Table]]:
    """Yield tables together until they have `GROUP_ROWS` rows: a group for each of many small jobs would make a large file."""
    group: list[pa.Table] = []
    for table in tables:
        group.append(table)
        if sum(one.num_rows for one in group) >= GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _schema(arrow: pa, units: dict[str, str]) -> pa.Schema:
    text = arrow.dictionary(arrow.int32(), arrow.string())
    fields = [
        arrow.field("job_id", text),
        arrow.field("attempt", arrow.int32()),
        arrow.field("repeat", arrow.int32()),
        arrow.field("phase", text),
        arrow.field("t", arrow.float64(), metadata={"unit": "s"}),
        arrow.field("gap", arrow.bool_()),
        arrow.field("time_utc", arrow.timestamp("us", tz="UTC")),
        *(arrow.field(_label(name, units), arrow.float64(), metadata={"unit": unit}) for name, unit in units.items()),
        arrow.field("missing", text),
    ]
    return arrow.schema(fields, metadata={"fleetmark_format": str(PARQUET_FORMAT)})


def _label(name: str, others: Collection[str]) -> str:
    """Return what a column is called in the file. A sampler of a plug-in may use one of our names, and pandas reads no name twice."""
    if name not in OWN_COLUMNS:
        return name
    label = f"{name}_sampled"
    while label in others:
        label += "_too"
    return label


def _table(arrow: pa, job: Sampled, found: Telemetry, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
    count = found.t.size
    repeats, phases = phases_of(found)
    columns: list[Any] = [_same(arrow, job.job_id, count), arrow.array(np.full(count, job.attempt, dtype=np.int32))]
    columns += [arrow.array(repeats, type=arrow.int32()), arrow.array(phases, type=arrow.string()).dictionary_encode()]
    columns += [arrow.array(found.t), arrow.array(found.gap), _wall_times(arrow, found)]
    for name in names:
        values = found.column(name)
        columns.append(arrow.nulls(count, arrow.float64()) if values is None else arrow.array(values, mask=np.isnan(values)))
    columns.append(_same(arrow, _reasons(found.header), count))
    return arrow.Table.from_arrays([column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def _same(arrow: pa, text: str, count: int) -> pa.DictionaryArray:
    """Return a column that has the same text in each row."""
    return arrow.DictionaryArray.from_arrays(arrow.array(np.zeros(count, dtype=np.int32)), arrow.array([storable_text(text)]))


def _wall_times(arrow: pa, found: Telemetry) -> Any:
    """Return the wall clock's time of each sample. It is null if the worker did not know it."""
    begin = found.header.started_at
    known = begin > 0 and begin + (found.t[-1] if found.t.size else 0.0) < LAST_WALL_S
    micros = np.round((begin + found.t) * 1e6).astype(np.int64) if known else np.zeros(found.t.size, dtype=np.int64)
    return arrow.array(micros, mask=np.full(found.t.size, not known)).cast(arrow.timestamp("us", tz="UTC"))


def _reasons(header: Header) -> str:
    said = [f"{column.name}: {column.missing}" for column in header.columns if column.missing]
    return "\n".join([*said, f"samples: {header.ended}"] if header.ended else said)


def phases_of(found: Telemetry) -> tuple[list[int | None], list[str | None]]:
    """Return the number of the repeat (from 1) and the phase at each sample. They are None while no repeat ran."""
    phases: Sequence[PhaseTime] = sorted(found.header.phases, key=lambda one: one.at)
    places = np.searchsorted([one.at for one in phases], found.t, side="right") - 1
    repeats: list[int | None] = []
    names: list[str | None] = []
    for place in places:
        one = phases[place] if place >= 0 else None
        repeats.append(one.index + 1 if one is not None and one.where == "repeat" else None)
        names.append(
            None if one is None or not one.where else storable_text(one.phase if one.where == "repeat" else f"{one.where}: {one.phase}")
        )
    return repeats, names


def _read(path: Path, read: Callable[[BinaryIO], T]) -> T | None:
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MAX_BYTES:
                log.warning("%s is left out: unpacked it has %d bytes, and %d are read", path, size, MAX_BYTES)
                return None
            file.seek(0)
            return read(file)
    except FileNotFoundError:
        return None
    except (*_DAMAGED, zipfile.BadZipFile, ValidationError) as error:
        log.warning("%s cannot be read: %s: %s", path, type(error).__name__, error)
        return None


def _header(file: BinaryIO) -> Header:
    with np.load(file, allow_pickle=False) as content:
        if int(content["format"]) != TELEMETRY_FORMAT:
            raise ValueError(f"it has format {int(content['format'])}; this version reads format {TELEMETRY_FORMAT}")
        return Header.model_validate_json(content["header"].tobytes())


def _whole(file: BinaryIO) -> Telemetry:
    header = _header(file)
    file.seek(0)
    with np.load(file, allow_pickle=False) as content:
        t, gap, values = content["t"], content["gap"], content["values"]
    if t.ndim != 1 or t.dtype != np.float64 or not np.all(np.isfinite(t)) or np.any(np.diff(t) < 0):
        raise ValueError("its times are no growing list of seconds")
    if gap.shape != t.shape or gap.dtype != np.bool_ or values.shape != (len(header.columns), t.size) or values.dtype != np.float64:
        raise ValueError(f"it has {t.size} times and {len(header.columns)} columns, but gaps of {gap.shape} and values of {values.shape}")
    return Telemetry(header, t, gap, values)
