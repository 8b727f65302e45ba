"""Validates the query parameters of a series in buckets."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import Query

from app.catalogue.metrics import Metric
from app.platform.http.contract.fields import InstantParameter
from app.platform.kernel.errors import InvalidError
from app.timeseries.rollups.rollup_merging import RollupColumns
from app.timeseries.rollups.rollup_queries import BoxSeriesQuery
from app.timeseries.series.bucket_page_formatting import (
    AGGREGATES,
    BucketPage,
    Fill,
    find_required_quantiles,
    format_bucket_page,
    parse_aggregates,
)
from app.timeseries.series.reading_queries import MeasuredBox
from app.timeseries.series.series_parameters import BucketWidth, clamp_span

MAX_SAMPLES: Final = 5_000_000
"""The most samples that are read for one series; those in roll-ups do not count."""


@dataclass(frozen=True, slots=True)
class BucketQuery:
    """A validated request for a series in buckets.

    Attributes:
        metric: of the catalogue.
        bucket: width of the buckets.
        first, last: the range; `last` is exclusive.
        names: the aggregates.
        fill: content of buckets without a value.
    """

    metric: Metric
    bucket: BucketWidth
    first: datetime
    last: datetime
    names: tuple[str, ...]
    fill: Fill

    @classmethod
    def of(
        cls,
        metric: Metric,
        bucket: BucketWidth,
        span: tuple[datetime, datetime],
        names: str | None,
        fill: Fill,
    ) -> "BucketQuery":
        """Validate a request.

        Args:
            metric: of the catalogue.
            bucket: width of the buckets.
            span: start and end (exclusive).
            names: aggregates, separated by commas; None: the default ones.
            fill: content of buckets without a value.

        Raises:
            InvalidError: `range_too_large`, `invalid_aggregate`.
        """
        bucket.check_span(*span)
        first, last = clamp_span(*span)
        if first >= last:
            raise InvalidError("Samples exist for the years 2000 to 9998 only.", code="range_too_large")
        return cls(metric, bucket, first, last, parse_aggregates(names, metric), fill)

    def limit(self, span: tuple[datetime, datetime]) -> "BucketQuery":
        """Limit the request to a part of its range."""
        return replace(self, first=max(self.first, span[0]), last=min(self.last, span[1]))

    def series(self, box: MeasuredBox, start: datetime | None = None) -> BoxSeriesQuery:
        """Build the query for a page of one box that begins at `start` (InvalidError `range_too_large`)."""
        series = self.series_from_samples(box, start)
        samples = (self.last - series.first).total_seconds() / box.interval_s
        if series.rolled_up is None and samples > MAX_SAMPLES:
            most = timedelta(seconds=MAX_SAMPLES * box.interval_s)
            raise InvalidError(
                f"The series would read about {samples:,.0f} samples; the limit is {MAX_SAMPLES:,}. Use "
                f"`bucket=1h` or `bucket=1d`, which are stored as roll-ups, or request {most} at a time.",
                code="range_too_large",
                extra={"suggested_bucket": "1h", "maximum_samples": MAX_SAMPLES},
            )
        return series

    def series_from_samples(self, box: MeasuredBox, start: datetime | None = None) -> BoxSeriesQuery:
        """Build the query for one box without a limit.

        The caller reads all of it from samples, and limits that.
        """
        return BoxSeriesQuery(
            box.key,
            self.metric,
            self.bucket,
            box.timezone,
            self._find_read_start(start),
            self.last,
            find_required_quantiles(self.names),
        )

    def format_page(
        self, box: MeasuredBox, found: RollupColumns, limit: int, start: datetime | None = None
    ) -> BucketPage:
        """Format a page, from `start` on.

        Args:
            box: the box.
            found: its aggregates.
            limit: the highest number of points.
            start: of the page; None: of the range.
        """
        return format_bucket_page(
            found,
            metric=self.metric,
            bucket=self.bucket,
            zone=ZoneInfo(box.timezone),
            interval_s=box.interval_s,
            names=self.names,
            limit=limit,
            whole=(self._find_read_start(start), self.last),
            start=self._clamp_start(start),
            fill=self.fill,
        )

    def _find_read_start(self, start: datetime | None) -> datetime:
        """Return where to begin to read a page: for fills that use earlier buckets, at the range's start."""
        return self.first if self.fill in {"previous", "linear"} else self._clamp_start(start)

    def _clamp_start(self, start: datetime | None) -> datetime:
        """Clamp the start of a page to the range: a cursor may come from a request with another range."""
        return self.first if start is None else min(max(start, self.first), self.last)


AggregatesParameter = Annotated[
    str | None,
    Query(
        max_length=80,
        description="Aggregates of each bucket, separated by commas; `avg,min,max,count,coverage` by "
        "default. `l10`, `l50` and `l90` are sound levels exceeded 10, 50 and 90 % of the time",
        examples=["avg,max,p95"],
        json_schema_extra={
            "pattern": f"^({'|'.join(AGGREGATES)})(,({'|'.join(AGGREGATES)}))*$",
        },
    ),
]
BucketParameter = Annotated[
    str | None,
    Query(
        max_length=16,
        description="Bucket width such as 30s, 15m, 1h, 1d or 1w; omit it for raw values",
        examples=["15m"],
        json_schema_extra={"pattern": "^[1-9][0-9]{0,5}[smhdw]$"},
    ),
]
FromParameter = Annotated[
    InstantParameter | None, Query(alias="from", description="Inclusive; 24 hours before `to` by default")
]
ToParameter = Annotated[InstantParameter | None, Query(description="Exclusive; now by default")]
FillParameter = Annotated[
    Fill,
    Query(
        description="Buckets without a value: omitted (`none`), null, the values of the bucket before "
        "(`previous`), or interpolated between neighbours (`linear`). Their count and coverage are 0"
    ),
]


def check_bucket_parameters(aggregates: str | None, fill: Fill) -> None:
    """Refuse parameters of buckets in a request for raw values (InvalidError `bucket_missing`)."""
    if aggregates is not None or fill != "none":
        raise InvalidError(
            "`aggregates` and `fill` apply to buckets only. Add `bucket`.", code="bucket_missing"
        )
