"""What the API process hands to the child that makes a report: all that it read, and nothing made of it.

Owns the shapes and how they are packed. Pure. Times are µs since the epoch.
"""

from datetime import date
from typing import Final, Literal

import msgspec
import numpy as np

from app.indicators.index_results import IndexResult
from app.timeseries.quality.quality_flags import Flag
from app.timeseries.rollups.rollup_columns import RollupColumns

type ReportLength = Literal["day", "month"]
type ReportLanguage = Literal["en", "fr"]
type ReportFormat = Literal["html", "pdf"]

REPORTED_METRICS: Final = (
    *("pm2_5", "pm10", "no2", "o3", "so2", "co"),
    *("laeq", "co2", "tvoc", "hcho", "benzene", "odour", "temperature", "humidity", "illuminance"),
)
"""The metrics of the catalogue that reports tell of, in their order."""

_HOUR_US: Final = 3_600_000_000


class HourlySummaries(msgspec.Struct, frozen=True):
    """Summaries of hours of one metric, as arrays of bytes: of a hundred boxes there are a million.

    Attributes:
        metric: of the catalogue.
        hours: when each begins, in hours since the epoch (int32).
        counts: how many values each is of (int32).
        means: as series show them (float64).
        lows, highs: the lowest and highest values (float64).
    """

    metric: str
    hours: bytes
    counts: bytes
    means: bytes
    lows: bytes
    highs: bytes

    @classmethod
    def of(cls, metric: str, found: RollupColumns) -> "HourlySummaries":
        """Pack summaries of whole hours."""
        return cls(
            metric,
            (found.times // _HOUR_US).astype(np.int32).tobytes(),
            found.counts.astype(np.int32).tobytes(),
            *(each.astype(np.float64).tobytes() for each in (found.means, found.lows, found.highs)),
        )

    def columns(self) -> RollupColumns:
        """The same to compute with."""
        means, lows, highs = (np.frombuffer(each, np.float64) for each in (self.means, self.lows, self.highs))
        hours = np.frombuffer(self.hours, np.int32).astype(np.int64)
        counts = np.frombuffer(self.counts, np.int32).astype(np.int64)
        return RollupColumns(hours * _HOUR_US, counts, means, lows, highs)


class ReportBoxInput(msgspec.Struct, frozen=True):
    """A box and what it measured.

    Attributes:
        id, name: what it is called; its client chose both.
        interval_s: how often it samples.
        hours: of the period, the one before it, and what figures read besides.
        figures: which it has, unasked: names of methods, each with the metric where it is of one.
        sampled: results of figures that are made of samples, of the period.
    """

    id: str
    name: str | None
    interval_s: int
    hours: list[HourlySummaries]
    figures: list[tuple[str, str | None]]
    sampled: list[IndexResult]


class ReportAlert(msgspec.Struct, frozen=True):
    """An alert, as far as a report tells of it."""

    rule: str
    severity: str
    box: str | None
    started_us: int
    ended_us: int | None


class AlertStatistics(msgspec.Struct, frozen=True):
    """The alerts that began in the period.

    Attributes:
        by_severity: how many, by the highest severity that each had.
        before: how many began in the period before.
        went_on: how many had begun earlier, and were on as the period began.
        firing: how many of those that began in it are on still.
        acknowledged: how many of them somebody took charge of.
        waited_s: how long that took, of half of these at most, from when the alert was made (None: of none).
        longest_wait_s: the longest of these.
        longest: those that lasted longest, the longest first.
    """

    by_severity: dict[str, int]
    before: int
    went_on: int
    firing: int
    acknowledged: int
    waited_s: float | None
    longest_wait_s: float | None
    longest: list[ReportAlert]


class FlagCounts(msgspec.Struct, frozen=True):
    """How many samples were looked at, and how many of them have each flag."""

    samples: int
    flags: dict[Flag, int]


class ReportInput(msgspec.Struct, frozen=True):
    """All that a report is made of.

    Attributes:
        length: whether it is of a day or a month.
        first, last: its local dates.
        timezone: whose days they are.
        latitude: of the site: which season it is.
        country: whose parts of the day noise goes by.
        organisation, site: names, which clients chose.
        kind: what the client calls the site.
        language, form: what is to be made.
        made_us: when it is made.
        boxes: those that it is of, by their ids.
        alerts: None where the caller may not read them.
        flags: None where there are too many samples to look at.
        odours_left_out: there are too many samples for the figures of odours.
    """

    length: ReportLength
    first: date
    last: date
    timezone: str
    latitude: float
    country: str
    organisation: str
    site: str
    kind: str
    language: ReportLanguage
    form: ReportFormat
    made_us: int
    boxes: list[ReportBoxInput]
    alerts: AlertStatistics | None
    flags: FlagCounts | None
    odours_left_out: bool


pack_report_input: Final = msgspec.msgpack.Encoder().encode
unpack_report_input: Final = msgspec.msgpack.Decoder(ReportInput).decode
