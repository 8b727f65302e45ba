"""The query parameters of series in buckets, the same wherever there are some."""

from typing import Annotated

from fastapi import Query

from app.platform.http.contract.fields import InstantParameter
from app.platform.kernel.errors import InvalidError
from app.timeseries.series.aggregates import AGGREGATES, Fill

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
