"""What a request for a series in buckets asks for, checked: the same for one box and for many.

Owns the bounds of what is read at once, and what is suggested where they are passed.

The query parameters of series in buckets, the same wherever there are some.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import Query

from app.catalogue.metrics import Metric
from app.platform.http.contract.fields import InstantParameter
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, to_datetime
from app.timeseries.rollups.rollup_columns import RollupColumns
from app.timeseries.rollups.rollup_queries import BoxSeriesQuery
from app.timeseries.series.aggregates import (
    AGGREGATES,
    BucketPage,
    Fill,
    find_required_quantiles,
    format_bucket_page,
    parse_aggregates,
)
from app.timeseries.series.reading_queries import MeasuredBox
from app.timeseries.series.series_arithmetic import BucketWidth

MAX_SAMPLES: Final = 5_000_000
"""So many samples are looked at for one series; what roll-ups know does not count."""
# Nothing else is ever stored; at the far ends of time there are no buckets to count from.
_FIRST: Final = to_datetime(EARLIEST_US)
_LAST: Final = to_datetime(LATEST_US)


@dataclass(frozen=True, slots=True)
class BucketQuery:
    """A series in buckets.

    Attributes:
        metric: of the catalogue.
        bucket: how wide each is.
        first, last: the range; `last` is not in it.
        names: the aggregates.
        fill: what stands in buckets without a value.
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
        """Check it (InvalidError `range_too_large`, `invalid_aggregate`)."""
        bucket.check_span(*span)
        first, last = max(span[0], _FIRST), min(span[1], _LAST)
        if first >= last:
            raise InvalidError("Samples are of the years 2000 to 9998.", code="range_too_large")
        return cls(metric, bucket, first, last, parse_aggregates(names, metric), fill)

    def series(self, box: MeasuredBox, start: datetime | None = None) -> BoxSeriesQuery:
        """The same of one box, from a later start on where one is given (InvalidError `range_too_large`)."""
        series = self.series_from_samples(box, start)
        samples = (self.last - series.first).total_seconds() / box.interval_s
        if series.rolled_up is None and samples > MAX_SAMPLES:
            most = timedelta(seconds=MAX_SAMPLES * box.interval_s)
            raise InvalidError(
                f"About {samples:,.0f} samples would be looked at, of {MAX_SAMPLES:,} at most. Try "
                f"`bucket=1h` or `bucket=1d`, which are there already, or {most} at a time.",
                code="range_too_large",
                extra={"suggested_bucket": "1h", "maximum_samples": MAX_SAMPLES},
            )
        return series

    def series_from_samples(self, box: MeasuredBox, start: datetime | None = None) -> BoxSeriesQuery:
        """The same, whose bounds its reader sees to: all of it is read from samples."""
        return BoxSeriesQuery(
            box.key,
            self.metric,
            self.bucket,
            box.timezone,
            self._clamp_start(start),
            self.last,
            find_required_quantiles(self.names),
        )

    def format_page(
        self, box: MeasuredBox, found: RollupColumns, limit: int, start: datetime | None = None
    ) -> BucketPage:
        """A page of it, from `start` on."""
        return format_bucket_page(
            found,
            metric=self.metric,
            bucket=self.bucket,
            zone=ZoneInfo(box.timezone),
            interval_s=box.interval_s,
            names=self.names,
            limit=limit,
            whole=(self._clamp_start(start), self.last),
            fill=self.fill,
        )

    def _clamp_start(self, start: datetime | None) -> datetime:
        """Where a page begins: a cursor may be of another range than the one that is asked for with it."""
        return self.first if start is None else min(max(start, self.first), self.last)


AggregatesParameter = Annotated[
    str | None,
    Query(
        max_length=80,
        description="What each bucket has, with commas; `avg,min,max,count,coverage` by default. "
        "`l10`, `l50` and `l90` are levels exceeded that much of the time",
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
        description="A width such as 30s, 15m, 1h, 1d or 1w; leave out for raw values",
        examples=["15m"],
        json_schema_extra={"pattern": "^[1-9][0-9]{0,5}[smhdw]$"},
    ),
]
FromParameter = Annotated[
    InstantParameter | None, Query(alias="from", description="Included; 24 hours before `to` by default")
]
ToParameter = Annotated[InstantParameter | None, Query(description="Excluded; now by default")]
FillParameter = Annotated[
    Fill,
    Query(
        description="Buckets without a value: left out (`none`), null, the values of the one before "
        "(`previous`), or on the line between their neighbours (`linear`); count and coverage stay 0"
    ),
]


def check_bucket_parameters(aggregates: str | None, fill: Fill) -> None:
    """Refuse what means something of buckets alone, where there are none (InvalidError `bucket_missing`)."""
    if aggregates is not None or fill != "none":
        raise InvalidError(
            "`aggregates` and `fill` are for buckets: give `bucket` too.", code="bucket_missing"
        )
