"""Writes the CSV files of air quality portals: OpenAQ's archive, and the downloads of the EEA.

A line has one value, so a row becomes as many lines as it has values of metrics that the portal knows. Rows
come as lines of CSV, as for the other text formats, and are divided a few at a time.

Sources: docs.openaq.org/aws/about for the columns of OpenAQ. The columns of the EEA are those of its Parquet
files; its vocabularies are observationvalidity, observationverification and uom/concentration of Eionet; that
times of hourly data are in UTC+1 is from its table definition of the time series.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import batched
from typing import Any, Final

from app.catalogue.metrics import METRICS_BY_NAME
from app.catalogue.sensorthings_ids import make_box_id, make_datastream_id
from app.catalogue.vocabularies import METRIC_DEFINITIONS
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import HOUR_US, from_datetime, to_datetime
from app.timeseries.exports.export_parameters import ExportQuery
from app.timeseries.exports.row_source import ExportColumn
from app.timeseries.exports.text_formats import TEXT_FORMATS, TextFormat, format_number
from app.timeseries.exports.time_bucket_layout import BucketLayout

_ROWS_AT_ONCE: Final = 200
# Before the values of a line: box, number, latitude, longitude, time.
_HEAD: Final = 5
_ROWS: Final = replace(
    TEXT_FORMATS["csv"],
    begin=lambda box: f"{box.id},{box.number},{format_number(box.latitude)},{format_number(box.longitude)}",
    head=lambda _: "",
)

OPENAQ_COLUMNS: Final = (
    *("location_id", "sensors_id", "location", "datetime", "lat", "lon", "parameter", "units", "value"),
)
"""The columns of a measurement file of OpenAQ's archive."""
EEA_COLUMNS: Final = (
    *("Samplingpoint", "Pollutant", "Start", "End", "Value", "Unit", "AggType", "Validity", "Verification"),
    *("ResultTime", "DataCapture", "FkObservationLog"),
)
"""The columns of a file of the EEA's download service."""


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A metric in OpenAQ: its name, its unit, and by how much to multiply."""

    name: str
    units: str
    factor: int = 1


_OPENAQ: Final[Mapping[str, _Parameter]] = {
    **{name: _Parameter(name, "µg/m³") for name in ("pm1", "pm4", "pm10", "no", "no2", "o3", "so2")},
    "pm2_5": _Parameter("pm25", "µg/m³"),
    "co": _Parameter("co", "µg/m³", 1000),
    "co2": _Parameter("co2", "ppm"),
    "temperature": _Parameter("temperature", "c"),
    "humidity": _Parameter("relativehumidity", "%"),
}
_EEA_UNITS: Final = {"µg/m³": "ug.m-3", "mg/m³": "mg.m-3"}
# Metric → code of the pollutant. Gases that boxes send in ppb have another unit in the EEA's data.
_EEA: Final[Mapping[str, str]] = {
    name: definition.rpartition("/")[2]
    for name, definition in METRIC_DEFINITIONS.items()
    if definition is not None and "/aq/pollutant/" in definition and METRICS_BY_NAME[name].unit in _EEA_UNITS
}
_EEA_ZONE: Final = timezone(timedelta(hours=1))
_EEA_TIME: Final = "%Y-%m-%d %H:%M:%S"
_HOUR: Final = timedelta(hours=1)
_VALID, _NOT_VALID, _NOT_VERIFIED = "1", "-1", "3"
# The share of an hour that directive 2008/50/EC (annex XI) requires of an hourly value (%).
_LEAST_COVERAGE: Final = 75.0


def _format_openaq_lines(names: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a row of samples."""
    box, number, latitude, longitude, time = cells[:_HEAD]
    begin, zoned = make_box_id(number), f"{time.removesuffix('Z')}+00:00"
    for name, cell in zip(names, cells[_HEAD:], strict=True):
        if not cell:
            continue
        parameter = _OPENAQ[name]
        sensor = make_datastream_id(number, name, hourly=False)
        value = cell if parameter.factor == 1 else f"{(Decimal(cell) * parameter.factor).normalize():f}"
        yield (
            f"{begin},{sensor},{box},{zoned},{latitude},{longitude},{parameter.name},{parameter.units},"
            f"{value}\r\n"
        )


def _format_eea_lines(names: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a row of hourly means, with the coverage after each mean."""
    box, time, values = cells[0], cells[_HEAD - 1], cells[_HEAD:]
    start = datetime.fromisoformat(time).astimezone(_EEA_ZONE)
    times = f"{start:{_EEA_TIME}},{start + _HOUR:{_EEA_TIME}}"
    for place in range(0, len(values), 2):
        name, mean, coverage = names[place].removesuffix("_avg"), values[place], values[place + 1]
        if not mean:
            continue
        code = _EEA[name]
        unit = _EEA_UNITS[METRICS_BY_NAME[name].unit]
        validity = _VALID if coverage and float(coverage) >= _LEAST_COVERAGE else _NOT_VALID
        yield (
            f"SPO_{box}_{code},{code},{times},{mean},{unit},hour,{validity},{_NOT_VERIFIED},,{coverage},\r\n"
        )


def _find_whole_hours(first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Return the range of the whole hours in a span that are over (InvalidError `no_whole_hour`)."""
    first_us = -(-from_datetime(first) // HOUR_US) * HOUR_US
    last_us = min(from_datetime(last), from_datetime(datetime.now(UTC))) // HOUR_US * HOUR_US
    if first_us >= last_us:
        raise InvalidError(
            "The span has no whole hour that is over. Choose an earlier `from`, or a later `to`.",
            code="no_whole_hour",
        )
    return to_datetime(first_us), to_datetime(last_us)


@dataclass(frozen=True, slots=True)
class PortalFormat:
    """A format with one value a line.

    Attributes:
        title: of the portal.
        columns: the header.
        metrics: the metrics that the portal knows.
        divide: divides the cells of a row, with the names of its columns, into lines.
        hourly: a row is an hour; otherwise a sample.
    """

    title: str
    columns: tuple[str, ...]
    metrics: frozenset[str]
    divide: Callable[[Sequence[str], Sequence[str]], Iterator[str]]
    hourly: bool

    @property
    def media_type(self) -> str:
        """The media type of the response."""
        return _ROWS.media_type

    @property
    def row_format(self) -> TextFormat:
        """The lines that are divided."""
        return _ROWS

    def adapt_query(self, query: ExportQuery) -> ExportQuery:
        """Return the query of the rows that the format needs.

        Raises:
            InvalidError: `bucket_given`, `invalid_bucket`, `metric_not_in_format`, `no_whole_hour`.
        """
        unknown = [name for name in query.metrics or () if name not in self.metrics]
        if unknown:
            raise InvalidError(
                f"{self.title} has no {', '.join(unknown)}. Leave `metric` out, or choose of "
                f"{', '.join(name for name in METRICS_BY_NAME if name in self.metrics)}.",
                code="metric_not_in_format",
            )
        if not self.hourly:
            if query.bucketing is not None:
                raise InvalidError(
                    f"{self.title} has samples. Leave `bucket` out, or choose another format.",
                    code="bucket_given",
                )
            return replace(query, offered=self.metrics)
        if query.bucketing is not None and query.bucketing.bucket.text != "1h":
            raise InvalidError(f"{self.title} has hours. Use `bucket=1h`.", code="invalid_bucket")
        layout = replace(BucketLayout.of("1h", "avg,coverage", query.first, query.last), whole=True)
        first, last = _find_whole_hours(query.first, query.last)
        return replace(query, first=first, last=last, bucketing=layout, offered=self.metrics)

    async def chunks(
        self,
        slices: AsyncIterator[bytes],
        columns: Sequence[ExportColumn],
        **_: Any,  # noqa: ANN401 (not resumed)
    ) -> AsyncIterator[bytes]:
        """Yield the file. Reads the first slice before it yields the head."""
        pending = ",".join(self.columns) + "\r\n"
        names = [column.name for column in columns]
        async for copied in slices:
            for rows in batched(copied.decode().splitlines(), _ROWS_AT_ONCE):
                lines = (line for row in rows for line in self.divide(names, row.split(",")))
                yield (pending + "".join(lines)).encode()
                pending = ""
                # Other requests go first: dividing takes time of this process.
                await asyncio.sleep(0)
        yield pending.encode()


PORTAL_FORMATS: Final[Mapping[str, PortalFormat]] = {
    "openaq": PortalFormat("OpenAQ", OPENAQ_COLUMNS, frozenset(_OPENAQ), _format_openaq_lines, hourly=False),
    "eea": PortalFormat("The EEA", EEA_COLUMNS, frozenset(_EEA), _format_eea_lines, hourly=True),
}
"""The formats by their name in `format`."""
