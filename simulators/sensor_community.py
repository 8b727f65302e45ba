"""Reads archive files of Sensor.Community into samples per station, and moves them in time.

A CSV file has one sensor's day, with `;` between fields and times in UTC without a zone. A station is a
`location`: its sensors (dust, climate) are in one housing. Rows of the same second become one sample, because
box and time identify a sample. If two rows have the same metric in the same second, the first one in the
order of files and lines is used; the others are counted.
"""

import csv
import gzip
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TextIO
from zoneinfo import ZoneInfo

METRICS_BY_COLUMN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "P0": "pm1",
        "P1": "pm10",
        "P2": "pm2_5",
        "P4": "pm4",
        "temperature": "temperature",
        "humidity": "humidity",
        "pressure": "pressure",
        "noise_LAeq": "laeq",
        "noise_LA_max": "lamax",
    }
)
"""Metric of the catalogue by column of the archive. Other columns are durations, ratios and derived ones."""

_REQUIRED: Final = frozenset({"sensor_id", "location", "lat", "lon", "timestamp"})
_PASCALS_PER_HECTOPASCAL: Final = Decimal(100)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PROBLEMS_SHOWN: Final = 20
_US_PER_S: Final = 1_000_000


class StationSample(NamedTuple):
    """The values of a station in one second.

    Attributes:
        time_us: Microseconds since 1970, UTC.
        values: By the catalogue's metrics, in its units.
        seq: The sample's number among all samples of the station, from 0.
    """

    time_us: int
    values: dict[str, float]
    seq: int


@dataclass(slots=True)
class RecordedStation:
    """A location with its sensors and its samples, sorted by time."""

    location: str
    longitude: float
    latitude: float
    sensors: list[str] = field(default_factory=list)
    samples: list[StationSample] = field(default_factory=list)


@dataclass(slots=True)
class ArchiveSummary:
    """Counts of the files' contents, printed before a replay."""

    files: int = 0
    other_files: int = 0
    rows: int = 0
    values: int = 0
    empty_fields: int = 0
    joined_rows: int = 0
    repeated_equal: int = 0
    repeated_different: int = 0
    unreadable: int = 0
    by_metric: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def problem(self, where: str, what: str) -> None:
        """Count an unreadable row or field; the first twenty are described in `problems`."""
        self.unreadable += 1
        if len(self.problems) < _PROBLEMS_SHOWN:
            self.problems.append(f"{where}: {what}")


def load_archive(folder: Path) -> tuple[list[RecordedStation], ArchiveSummary]:
    """Read the archive files of a folder (`*.csv`, `*.csv.gz`) in the order of their names.

    Files of another format are counted and ignored.

    Returns:
        The stations in the order of their location numbers, and counts of the files' contents.

    Raises:
        FileNotFoundError: The folder has no archive file.
    """
    found = ArchiveSummary()
    stations: dict[str, RecordedStation] = {}
    merged: dict[str, dict[int, dict[str, float]]] = {}
    for path in sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")]):
        with _open(path) as file:
            reader = csv.DictReader(file, delimiter=";")
            if not _REQUIRED.issubset(reader.fieldnames or ()):
                found.other_files += 1
                continue
            found.files += 1
            for row in reader:
                _take(row, f"{path.name}:{reader.line_num}", stations, merged, found)
    if not found.files:
        raise FileNotFoundError(f"{folder} has no Sensor.Community archive file (*_sensor_*.csv)")
    for location, station in stations.items():
        station.samples = [
            StationSample(time_us, values, seq)
            for seq, (time_us, values) in enumerate(sorted(merged[location].items()))
        ]
    return sorted(stations.values(), key=lambda station: (len(station.location), station.location)), found


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _take(
    row: Mapping[str, str | None],
    where: str,
    stations: dict[str, RecordedStation],
    merged: dict[str, dict[int, dict[str, float]]],
    found: ArchiveSummary,
) -> None:
    """Add one row to its station."""
    found.rows += 1
    location = row["location"] or ""
    try:
        time_us = parse_archive_time(row["timestamp"] or "")
        position = float(row["lon"] or ""), float(row["lat"] or "")
    except ValueError as error:
        found.problem(where, str(error))
        return
    values = dict(_values(row, where, found))
    if not values:
        return
    station = stations.setdefault(location, RecordedStation(location, *position))
    sensor = f"{row.get('sensor_type') or 'sensor'} {row['sensor_id']}"
    if sensor not in station.sensors:
        station.sensors.append(sensor)
    samples = merged.setdefault(location, {})
    if (kept := samples.get(time_us)) is None:
        samples[time_us] = values
        found.values += len(values)
        found.by_metric.update(values.keys())
        return
    found.joined_rows += 1
    for metric, value in values.items():
        if metric not in kept:
            kept[metric] = value
            found.values += 1
            found.by_metric[metric] += 1
        elif kept[metric] == value:
            found.repeated_equal += 1
        else:
            found.repeated_different += 1


def _values(row: Mapping[str, str | None], where: str, found: ArchiveSummary) -> Iterator[tuple[str, float]]:
    for column, metric in METRICS_BY_COLUMN.items():
        text = row.get(column)
        if text is None:
            continue
        if not text.strip():
            found.empty_fields += 1
            continue
        try:
            yield metric, convert_unit(metric, text)
        except ValueError as error:
            found.problem(where, f"{column}: {error}")


def parse_archive_time(text: str) -> int:
    """Parse the archive's `2019-03-10T00:01:49` (UTC) to microseconds since 1970.

    Raises:
        ValueError: The text is not a time.
    """
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def convert_unit(metric: str, text: str) -> float:
    """Convert the archive's number to the catalogue's unit: pascals to hectopascals.

    The division is decimal, so that every digit is exact: 100237.32 Pa is 1002.3732 hPa.

    Raises:
        ValueError: The text is not a finite number.
    """
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text[:20]!r} is not a number") from None
    value = float(number / _PASCALS_PER_HECTOPASCAL if metric == "pressure" else number)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]!r} is not finite")
    return value


def select_period(
    stations: Iterable[RecordedStation], first_us: int | None, end_us: int | None
) -> list[RecordedStation]:
    """Select the samples from `first_us` (included) to `end_us` (excluded); empty stations are dropped."""
    kept = []
    for station in stations:
        samples = [
            sample
            for sample in station.samples
            if (first_us is None or sample.time_us >= first_us)
            and (end_us is None or sample.time_us < end_us)
        ]
        if samples:
            kept.append(
                RecordedStation(
                    station.location, station.longitude, station.latitude, station.sensors, samples
                )
            )
    return kept


def shift_times(stations: Iterable[RecordedStation], by_us: int) -> list[RecordedStation]:
    """Shift all samples by `by_us` microseconds."""
    return [
        RecordedStation(
            station.location,
            station.longitude,
            station.latitude,
            station.sensors,
            [sample._replace(time_us=sample.time_us + by_us) for sample in station.samples],
        )
        for station in stations
    ]


def move_to_day(stations: Iterable[RecordedStation], day: date, zone: ZoneInfo) -> list[RecordedStation]:
    """Move all samples by whole local days, so that the first recorded day becomes `day`.

    A sample retains its local time of day. Its `seq` follows the new time, so that it increases from day to
    day. If the clocks change on the new day, samples of the missing hour are dropped, and samples of the
    repeated hour occur twice.

    Args:
        stations: The recorded stations.
        day: The first local day of the result.
        zone: The time zone of local days.
    """
    kept = list(stations)
    if not kept:
        return []
    earliest = min(station.samples[0].time_us for station in kept)
    days = day - _local(earliest, zone).date()
    moved = []
    for station in kept:
        samples = sorted(
            (
                sample._replace(time_us=time_us, seq=time_us // _US_PER_S)
                for sample in station.samples
                for time_us in _moved_instants(sample.time_us, days, zone)
            ),
            key=lambda sample: sample.time_us,
        )
        if samples:
            moved.append(
                RecordedStation(
                    station.location, station.longitude, station.latitude, station.sensors, samples
                )
            )
    return moved


def _local(time_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=time_us)).astimezone(zone)


def _moved_instants(time_us: int, days: timedelta, zone: ZoneInfo) -> list[int]:
    """Find the times (µs), `days` later, with the same local time of day in `zone`."""
    wall = _local(time_us, zone).replace(tzinfo=None) + days
    instants = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    # In a missing hour, both instants convert back to another local time.
    real = [each for each in instants if each.astimezone(zone).replace(tzinfo=None) == wall]
    return sorted((each - _EPOCH) // timedelta(microseconds=1) for each in real)
