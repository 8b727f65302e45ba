"""REST for what was measured: latest values and series, raw or in buckets of time."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response

from app.core.auth import Principal, requires
from app.core.fields import InstantParameter
from app.core.instants import from_datetime
from app.core.pagination import Cursor, cut, encode_cursor
from app.core.problems import documented
from app.core.web import Reads, json_answer
from app.observations import reads
from app.observations.asked import Asked
from app.observations.asked_parameters import AggregatesParameter, FillParameter, refuse_unbucketed
from app.observations.reads import Measured
from app.observations.rollups.reads import summaries
from app.observations.schemas import BucketedReadings, Reading, Readings
from app.observations.series import Bucket, check_range, metric_named
from app.sites.catalogue import BY_NAME

router: Final = APIRouter(prefix="/v1", tags=["Readings"])
Reader = Annotated[Principal, Depends(requires("telemetry:read"))]

_MAX_POINTS: Final = 10_000
_DEFAULT_POINTS: Final = 1_000
_RAW: Final = "readings"
_BUCKETS: Final = "buckets"


@router.get(
    "/boxes/{box}/readings",
    operation_id="get_box_readings",
    summary="A series of a box",
    response_model=Readings | BucketedReadings,
    responses=documented(401, 403, 404, 422),
)
async def get_box_readings(
    box: str,
    principal: Reader,
    session: Reads,
    *,
    metric: Annotated[
        str,
        Query(
            max_length=64,
            description="A metric of the catalogue",
            examples=["pm2_5"],
            json_schema_extra={"enum": sorted(BY_NAME)},
        ),
    ],
    from_: Annotated[
        InstantParameter | None, Query(alias="from", description="Included; 24 hours before `to` by default")
    ] = None,
    to: Annotated[InstantParameter | None, Query(description="Excluded; now by default")] = None,
    bucket: Annotated[
        str | None,
        Query(
            max_length=16,
            description="A width such as 30s, 15m, 1h, 1d or 1w; leave out for raw values",
            examples=["15m"],
            json_schema_extra={"pattern": "^[1-9][0-9]{0,5}[smhdw]$"},
        ),
    ] = None,
    aggregates: AggregatesParameter = None,
    fill: FillParameter = "none",
    limit: Annotated[int, Query(ge=1, le=_MAX_POINTS, description="Points a page")] = _DEFAULT_POINTS,
    cursor: Cursor = None,
) -> Readings | Response:
    """Values of one metric, ascending in time.

    With `bucket`, mean, lowest and highest value, count and coverage of each bucket, or what `aggregates`
    names. Decibels are averaged by energy. Buckets of days and weeks keep to the midnights of the site's time
    zone, all others to UTC's. A range may give 10,000 buckets at most. Hours and days are summarised
    beforehand: buckets of these are quick over years, and as exact as all others at any moment.
    """
    entry = metric_named(metric)
    span = check_range(from_, to, datetime.now(UTC))
    if bucket is None:
        refuse_unbucketed(aggregates, fill)
        first, last = span
    else:
        asked = Asked.of(entry, Bucket.parse(bucket), span, aggregates, fill)
    measured = await reads.get_measured(session, box, principal.visible())
    if bucket is not None:
        start = None if cursor is None else reads.cursor_time(_BUCKETS, cursor)
        return await _bucketed(session, measured, asked, start=start, limit=limit)
    # A time is there once: what follows a cursor is what is later, by at least a microsecond.
    start = first if cursor is None else max(first, reads.cursor_time(_RAW, cursor))
    rows = await reads.readings(session, measured.key, entry, first=start, last=last, limit=limit)
    page, following = cut(rows, limit, lambda row: encode_cursor(_RAW, from_datetime(row[0]) + 1))
    points = [Reading(time=time, value=value) for time, value in page]
    return Readings(box=measured.id, metric=entry.name, unit=entry.unit, points=points, next=following)


async def _bucketed(
    session: Reads, box: Measured, asked: Asked, *, start: datetime | None, limit: int
) -> Response:
    found = await summaries(session, asked.series(box, start))
    page = asked.write(box, found, limit, start)
    following = None if page.following is None else encode_cursor(_BUCKETS, page.following)
    return json_answer(
        {
            "box": box.id,
            "metric": asked.metric.name,
            "unit": asked.metric.unit,
            "bucket": asked.bucket.text,
            "timezone": box.timezone if asked.bucket.local else "UTC",
            "points": page.points,
            "next": following,
        }
    )
