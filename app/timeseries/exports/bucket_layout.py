"""What an export in buckets has: which columns, and between which buckets a box is read at once.

Owns the bounds of such an export, and its windows. Pure: no database, no clock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Final, Self
from zoneinfo import ZoneInfo

import numpy as np

from app.catalogue.metrics import METRICS_BY_NAME, Metric
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, from_datetime, to_datetime
from app.timeseries.exports.row_source import ExportColumn
from app.timeseries.rollups.rollup_columns import floor_to_buckets
from app.timeseries.rollups.rollup_queries import BoxSeriesQuery
from app.timeseries.series.aggregates import LEVEL_AGGREGATES, find_required_quantiles, parse_aggregate_names
from app.timeseries.series.bucket_query import MAX_SAMPLES
from app.timeseries.series.series_arithmetic import BucketWidth

MAX_BUCKETS: Final = 1_000_000
"""So many buckets of each box may lie in the span: a year of minutes, and more."""

# Of a window, for which a statement is sent for each metric: it has to end in a few seconds.
_SAMPLES: Final = 1_000_000
_FIRST: Final = to_datetime(EARLIEST_US)
_LAST: Final = to_datetime(LATEST_US)
_WHAT: Final = {
    "avg": "mean of the bucket",
    "min": "lowest value of the bucket",
    "max": "highest value of the bucket",
    "count": "number of values in the bucket",
    "coverage": "values in percent of those expected of the bucket",
}


@dataclass(frozen=True, slots=True)
class BucketLayout:
    """Into which buckets readings are put, and what each has.

    Attributes:
        bucket: how wide each is.
        names: the aggregates, in the order in which they were asked for.
    """

    bucket: BucketWidth
    names: tuple[str, ...]

    @classmethod
    def of(cls, bucket: str, aggregates: str | None, first: datetime, last: datetime) -> Self:
        """Check it (InvalidError `invalid_bucket`, `invalid_aggregate`, `range_too_large`)."""
        width = BucketWidth.parse(bucket)
        names = parse_aggregate_names(aggregates)
        first, last = clamp_span(first, last)
        if first >= last:
            raise InvalidError("Samples are of the years 2000 to 9998.", code="range_too_large")
        if (last - first).total_seconds() > width.seconds * MAX_BUCKETS:
            raise InvalidError(
                f"The span has more than {MAX_BUCKETS:,} buckets of {width.text}: take a wider `bucket`, or "
                f"{width.width * MAX_BUCKETS} at a time.",
                code="range_too_large",
                extra={"maximum_buckets": MAX_BUCKETS},
            )
        return cls(width, names)

    def fitting(self, metric: Metric) -> tuple[str, ...]:
        """The aggregates that a metric has: L10, L50 and L90 are of sound levels alone."""
        return tuple(name for name in self.names if name not in LEVEL_AGGREGATES or metric.kind == "level")

    def columns(self, metrics: Sequence[str]) -> tuple[ExportColumn, ...]:
        """A column for each metric and aggregate (InvalidError `invalid_aggregate`)."""
        found = tuple(
            _column(METRICS_BY_NAME[name], of)
            for name in metrics
            for of in self.fitting(METRICS_BY_NAME[name])
        )
        if metrics and not found:
            raise InvalidError(
                "l10, l50 and l90 are for sound levels, of which none is exported.", code="invalid_aggregate"
            )
        return found

    def series(
        self, key: int, metric: Metric, timezone: str, window: tuple[datetime, datetime]
    ) -> BoxSeriesQuery:
        """A window of a box, as series have it."""
        return BoxSeriesQuery(
            key, metric, self.bucket, timezone, *window, find_required_quantiles(self.fitting(metric))
        )

    def check_samples(self, interval_s: int) -> None:
        """Refuse buckets that hold too much to be looked at (InvalidError `range_too_large`).

        Args:
            interval_s: of the box that samples most often.
        """
        samples = self.bucket.seconds / interval_s
        if not self._rolled_up and samples > MAX_SAMPLES:
            raise InvalidError(
                f"About {samples:,.0f} samples would be looked at for one bucket, of {MAX_SAMPLES:,} at "
                "most. Try `bucket=1h` or `bucket=1d`, which are there already.",
                code="range_too_large",
                extra={"suggested_bucket": "1h", "maximum_samples": MAX_SAMPLES},
            )

    @property
    def _rolled_up(self) -> bool:
        return self.series(0, METRICS_BY_NAME["laeq"], "UTC", (_FIRST, _LAST)).rolled_up is not None

    def windows(
        self, first: datetime, last: datetime, zone: ZoneInfo, interval_s: int, rows: int
    ) -> Iterator[tuple[datetime, datetime]]:
        """Stretches of so many buckets at most, one behind the other; each but the last ends with a bucket.

        Args:
            first: where the first one begins.
            last: where the last one ends.
            zone: of the box's site.
            interval_s: how often the box samples.
            rows: buckets of a window.
        """
        fitting = max(1, min(rows, int(_SAMPLES * interval_s // self.bucket.seconds)))
        while first < last:
            begun = self.begin(first, zone)
            left = ceil((last - begun) / self.bucket.width) + 1
            end = min(self._after(begun, zone, min(fitting, left)), last)
            yield first, end
            first = end

    def begin(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """When the bucket begins in which an instant lies."""
        return to_datetime(int(floor_to_buckets(np.array([from_datetime(moment)]), self.bucket, zone)[0]))

    def from_row(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """Where the first bucket begins that begins at an instant or later."""
        begun = self.begin(moment, zone)
        return begun if begun == moment else self._after(begun, zone, 1)

    def after_row(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """Where the bucket ends in which an instant lies."""
        return self._after(self.begin(moment, zone), zone, 1)

    def _after(self, begun: datetime, zone: ZoneInfo, buckets: int) -> datetime:
        wide = BucketWidth(self.bucket.text, self.bucket.seconds * buckets, self.bucket.local)
        # Where clocks jump at midnight the day begins an hour later than others.
        return self.begin(wide.end_of(begun, zone), zone)


def clamp_span(first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """A span as far as there can be samples: at the far ends of time there are no buckets to count from."""
    return max(first, _FIRST), min(last, _LAST)


def _column(metric: Metric, of: str) -> ExportColumn:
    unit = {"count": "1", "coverage": "%"}.get(of, metric.unit)
    what = _WHAT.get(of)
    if what is None:
        what = (
            f"exceeded {of[1:]} % of the time"
            if of in LEVEL_AGGREGATES
            else f"quantile 0.{of[1:]} of the bucket"
        )
    # Means have more digits than four bytes hold, and counts more than they can count.
    return ExportColumn(f"{metric.name}_{of}", unit, f"{metric.description}: {what}", double=True)
