"""Defines the columns and time windows of an export in time buckets, and checks its limits.

Pure: no database, no clock.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Final, Self
from zoneinfo import ZoneInfo

import numpy as np

from app.catalogue.metrics import METRICS_BY_NAME, Metric
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import from_datetime, to_datetime
from app.timeseries.exports.row_source import ExportColumn
from app.timeseries.rollups.rollup_merging import floor_to_buckets
from app.timeseries.rollups.rollup_queries import BoxSeriesQuery
from app.timeseries.series.bucket_page_formatting import (
    LEVEL_AGGREGATES,
    find_required_quantiles,
    parse_aggregate_names,
)
from app.timeseries.series.bucket_request import MAX_SAMPLES
from app.timeseries.series.series_parameters import EARLIEST_TIME, LATEST_TIME, BucketWidth, clamp_span

MAX_BUCKETS: Final = 1_000_000
"""The most buckets of a box in the span: more than a year of minutes."""

# The most samples in a window, so that a statement, one per metric, ends in a few seconds.
_SAMPLES: Final = 1_000_000

_WHAT: Final = {
    "avg": "mean of the bucket",
    "min": "lowest value of the bucket",
    "max": "highest value of the bucket",
    "count": "number of values in the bucket",
    "coverage": "values in percent of those expected of the bucket",
}


@dataclass(frozen=True, slots=True)
class BucketLayout:
    """The buckets of an export and their aggregates.

    Attributes:
        bucket: width of the buckets.
        names: the aggregates, in the requested order.
        whole: without the buckets that the range of a box cuts.
    """

    bucket: BucketWidth
    names: tuple[str, ...]
    whole: bool = False

    @classmethod
    def of(cls, bucket: str, aggregates: str | None, first: datetime, last: datetime) -> Self:
        """Validate a request.

        Args:
            bucket: bucket width, such as `1h`.
            aggregates: names separated by commas; None: the default ones.
            first: start of the span.
            last: end of the span, exclusive.

        Raises:
            InvalidError: `invalid_bucket`, `invalid_aggregate`, `range_too_large`.
        """
        width = BucketWidth.parse(bucket)
        names = parse_aggregate_names(aggregates)
        first, last = clamp_span(first, last)
        if first >= last:
            raise InvalidError("Samples exist for the years 2000 to 9998 only.", code="range_too_large")
        if (last - first).total_seconds() > width.seconds * MAX_BUCKETS:
            raise InvalidError(
                f"The span has more than {MAX_BUCKETS:,} buckets of {width.text}. Use a wider `bucket`, or "
                f"export {width.width * MAX_BUCKETS} at a time.",
                code="range_too_large",
                extra={"maximum_buckets": MAX_BUCKETS},
            )
        return cls(width, names)

    def fitting(self, metric: Metric) -> tuple[str, ...]:
        """Return the aggregates that a metric has: L10, L50 and L90 exist for sound levels only."""
        return tuple(name for name in self.names if name not in LEVEL_AGGREGATES or metric.kind == "level")

    def columns(self, metrics: Sequence[str]) -> tuple[ExportColumn, ...]:
        """Return a column for each metric and aggregate (InvalidError `invalid_aggregate`)."""
        found = tuple(
            _column(METRICS_BY_NAME[name], of)
            for name in metrics
            for of in self.fitting(METRICS_BY_NAME[name])
        )
        if metrics and not found:
            raise InvalidError(
                "l10, l50 and l90 apply to sound levels only. Add a sound level to `metric`, or use other "
                "aggregates.",
                code="invalid_aggregate",
            )
        return found

    def series(
        self, key: int, metric: Metric, timezone: str, window: tuple[datetime, datetime]
    ) -> BoxSeriesQuery:
        """Build the series query for a window of a box.

        Args:
            key: the box.
            metric: of the catalogue.
            timezone: of the box's site.
            window: start and end (exclusive).
        """
        return BoxSeriesQuery(
            key, metric, self.bucket, timezone, *window, find_required_quantiles(self.fitting(metric))
        )

    def check_samples(self, interval_s: int) -> None:
        """Refuse buckets that would read too many samples (InvalidError `range_too_large`).

        Args:
            interval_s: the shortest sampling interval of the boxes (s).
        """
        samples = self.bucket.seconds / interval_s
        if not self._rolled_up and samples > MAX_SAMPLES:
            raise InvalidError(
                f"One bucket would read about {samples:,.0f} samples; the limit is {MAX_SAMPLES:,}. Use "
                "`bucket=1h` or `bucket=1d`, which are stored as roll-ups.",
                code="range_too_large",
                extra={"suggested_bucket": "1h", "maximum_samples": MAX_SAMPLES},
            )

    @property
    def _rolled_up(self) -> bool:
        return self._find_rollup(METRICS_BY_NAME["laeq"]) is not None

    def _find_rollup(self, metric: Metric) -> str | None:
        return self.series(0, metric, "UTC", (EARLIEST_TIME, LATEST_TIME)).rolled_up

    def group_by_rollup(self, metrics: Iterable[str]) -> dict[str, list[str]]:
        """Group the metrics that have roll-ups of these buckets by their roll-up: `hourly` or `daily`."""
        found: dict[str, list[str]] = {}
        for name in metrics:
            rollup = self._find_rollup(METRICS_BY_NAME[name])
            if rollup is not None:
                found.setdefault(rollup, []).append(name)
        return found

    def windows(
        self, first: datetime, last: datetime, zone: ZoneInfo, interval_s: int, rows: int
    ) -> Iterator[tuple[datetime, datetime]]:
        """Divide a range into consecutive windows; each but the last ends with a bucket.

        Args:
            first: start of the first window.
            last: end of the last window.
            zone: of the box's site.
            interval_s: sampling interval of the box (s).
            rows: the most buckets of a window.
        """
        if self.whole:
            first, last = self.from_row(first, zone), self.begin(last, zone)
        fitting = max(1, min(rows, int(_SAMPLES * interval_s // self.bucket.seconds)))
        while first < last:
            begun = self.begin(first, zone)
            left = ceil((last - begun) / self.bucket.width) + 1
            end = min(self._after(begun, zone, min(fitting, left)), last)
            yield first, end
            first = end

    def begin(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """Return the start of the bucket that contains an instant."""
        return to_datetime(int(floor_to_buckets(np.array([from_datetime(moment)]), self.bucket, zone)[0]))

    def from_row(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """Return the start of the first bucket that begins at an instant or later."""
        begun = self.begin(moment, zone)
        return begun if begun == moment else self._after(begun, zone, 1)

    def after_row(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """Return the end of the bucket that contains an instant."""
        return self._after(self.begin(moment, zone), zone, 1)

    def _after(self, begun: datetime, zone: ZoneInfo, buckets: int) -> datetime:
        wide = BucketWidth(self.bucket.text, self.bucket.seconds * buckets, self.bucket.local)
        # If clocks change at midnight, that day begins an hour later than others.
        return self.begin(wide.end_of(begun, zone), zone)


def _column(metric: Metric, of: str) -> ExportColumn:
    unit = {"count": "1", "coverage": "%"}.get(of, metric.unit)
    what = _WHAT.get(of)
    if what is None:
        what = (
            f"exceeded {of[1:]} % of the time"
            if of in LEVEL_AGGREGATES
            else f"quantile 0.{of[1:]} of the bucket"
        )
    # Means have more digits than a four-byte float, and counts may exceed its exact range.
    return ExportColumn(f"{metric.name}_{of}", unit, f"{metric.description}: {what}", double=True)
