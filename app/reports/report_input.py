"""Defines the input of a report, and packs it for the child process that renders it. Pure.

Times are µs since the epoch.
"""

from datetime import date
from typing import Final, Literal

import msgspec
import numpy as np

from app.environmental_indices.index_results import IndexResult
from app.platform.kernel.instants import HOUR_US
from app.timeseries.quality.sample_flagging import Flag
from app.timeseries.rollups.rollup_merging import RollupColumns

type ReportLength = Literal["day", "week", "month"]
type ReportLanguage = Literal["en", "fr"]
type ReportFormat = Literal["html", "pdf", "csv"]

REPORTED_METRICS: Final = (
    *("pm2_5", "pm10", "no2", "o3", "so2", "co"),
    *("laeq", "co2", "tvoc", "hcho", "benzene", "odour", "temperature", "humidity", "illuminance"),
)
"""The metrics in reports, in their order."""

CSV_COLUMNS: Final = (
    *("box", "metric", "unit", "from", "to"),
    *("mean", "min", "max", "count", "coverage_percent"),
)
"""The columns of a report as CSV."""


class HourlySummaries(msgspec.Struct, frozen=True):
    """Hourly summaries of a metric, packed as bytes because a hundred boxes have a million of them.

    Attributes:
        metric: the name of the metric.
        hours: the starts, in hours since the epoch (int32).
        counts: the numbers of values (int32).
        means: the means, as in series (float64).
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
            (found.times // HOUR_US).astype(np.int32).tobytes(),
            found.counts.astype(np.int32).tobytes(),
            *(each.astype(np.float64).tobytes() for each in (found.means, found.lows, found.highs)),
        )

    def columns(self) -> RollupColumns:
        """Unpack the summaries."""
        means, lows, highs = (np.frombuffer(each, np.float64) for each in (self.means, self.lows, self.highs))
        hours = np.frombuffer(self.hours, np.int32).astype(np.int64)
        counts = np.frombuffer(self.counts, np.int32).astype(np.int64)
        return RollupColumns(hours * HOUR_US, counts, means, lows, highs)


class ReportBoxInput(msgspec.Struct, frozen=True):
    """A box with its measurements.

    Attributes:
        id, name: id and name, both chosen by the client.
        interval_s: the sampling interval (s).
        hours: hourly summaries of the period, of the one before it, and of further hours that figures need.
        figures: the default figures: names of methods, each with its metric if it is for one metric.
        sampled: results of figures that are computed from single samples.
    """

    id: str
    name: str | None
    interval_s: int
    hours: list[HourlySummaries]
    figures: list[tuple[str, str | None]]
    sampled: list[IndexResult]


class ReportAlert(msgspec.Struct, frozen=True):
    """An alert in a report."""

    rule: str
    severity: str
    box: str | None
    started_us: int
    ended_us: int | None


class AlertStatistics(msgspec.Struct, frozen=True):
    """The alerts that began in the period.

    Attributes:
        by_severity: number by highest severity.
        before: number of alerts that began in the period before.
        went_on: number of alerts that began earlier and were firing when the period began.
        firing: number of alerts of the period that are still firing.
        acknowledged: number of alerts of the period that were acknowledged.
        waited_s: median time from creation to acknowledgement (s); None: none was acknowledged.
        longest_wait_s: longest time to acknowledgement (s).
        longest: the alerts with the longest duration, the longest first.
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
    """Number of evaluated samples, and of samples with each flag."""

    samples: int
    flags: dict[Flag, int]


class ReportInput(msgspec.Struct, frozen=True):
    """The input of a report.

    Attributes:
        length: day, week or month.
        first, last: the local dates of the period.
        timezone: the time zone of the site.
        latitude: the latitude of the site, which determines the season.
        country: the country of the site, which determines day, evening and night for noise.
        organisation, site: names, chosen by clients.
        kind: the kind of site, chosen by the client.
        language, form: language and format.
        made_us: the time of the report.
        boxes: the boxes, by id.
        alerts: alert statistics; None: the caller may not read alerts.
        flags: counts of flags; None: there are too many samples.
        odours_left_out: whether odour figures are missing because there are too many samples.
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
