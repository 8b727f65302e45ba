"""REST for what was measured: latest values and series, raw or in buckets of time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response

from app.catalogue.metrics import BY_NAME, Metric
from app.platform.http.contract.dependencies import Reads, json_answer
from app.platform.http.contract.pagination import Cursor, cut, encode_cursor
from app.platform.http.contract.problems import documented
from app.platform.identity.principals import Principal, requires
from app.platform.kernel.instants import from_datetime
from app.timeseries.quality.annotated_readings import annotated, summarised
from app.timeseries.quality.quality_parameters import (
    CorrectedParameter,
    ExcludeParameter,
    FlagsParameter,
    Treatment,
)
from app.timeseries.rollups.rollup_queries import summaries
from app.timeseries.series import reading_queries
from app.timeseries.series.bucket_parameters import (
    AggregatesParameter,
    BucketParameter,
    FillParameter,
    FromParameter,
    ToParameter,
    refuse_unbucketed,
)
from app.timeseries.series.bucket_query import Asked
from app.timeseries.series.reading_queries import Measured
from app.timeseries.series.schemas import BucketedReadings, Readings
from app.timeseries.series.series_arithmetic import Bucket, check_range, metric_named

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
    from_: FromParameter = None,
    to: ToParameter = None,
    bucket: BucketParameter = None,
    aggregates: AggregatesParameter = None,
    fill: FillParameter = "none",
    flags: FlagsParameter = False,
    exclude: ExcludeParameter = None,
    corrected: CorrectedParameter = False,
    limit: Annotated[int, Query(ge=1, le=_MAX_POINTS, description="Points a page")] = _DEFAULT_POINTS,
    cursor: Cursor = None,
) -> Response:
    """Values of one metric, ascending in time.

    With `bucket`, mean, lowest and highest value, count and coverage of each bucket, or what `aggregates`
    names. Decibels are averaged by energy. Buckets of days and weeks keep to the midnights of the site's time
    zone, all others to UTC's. A range may give 10,000 buckets at most. Hours and days are summarised
    beforehand: buckets of these are quick over years, and as exact as all others at any moment.

    What was measured is never changed. `flags` says what is odd about it, `exclude` leaves that out of
    buckets, `corrected` applies the box's corrections: made of samples, of 5,000,000 at most.
    """
    entry = metric_named(metric)
    span = check_range(from_, to, datetime.now(UTC))
    treatment = Treatment.of(flags=flags, exclude=exclude, corrected=corrected, bucketed=bucket is not None)
    if bucket is None:
        refuse_unbucketed(aggregates, fill)
        measured = await reading_queries.get_measured(session, box, principal.visible())
        start = None if cursor is None else reading_queries.cursor_time(_RAW, cursor)
        return await _raw(session, measured, entry, span, treatment, start=start, limit=limit)
    asked = Asked.of(entry, Bucket.parse(bucket), span, aggregates, fill)
    measured = await reading_queries.get_measured(session, box, principal.visible())
    start = None if cursor is None else reading_queries.cursor_time(_BUCKETS, cursor)
    return await _bucketed(session, measured, asked, treatment, start=start, limit=limit)


async def _raw(
    session: Reads,
    box: Measured,
    metric: Metric,
    span: tuple[datetime, datetime],
    treatment: Treatment,
    *,
    start: datetime | None,
    limit: int,
) -> Response:
    # A time is there once: what follows a cursor is what is later, by at least a microsecond.
    first = span[0] if start is None else max(span[0], start)
    rows = await reading_queries.readings(session, box, metric, first=first, last=span[1], limit=limit)
    page, following = cut(rows, limit, lambda row: encode_cursor(_RAW, from_datetime(row[0]) + 1))
    points: Sequence[Mapping[str, Any]]
    about: Mapping[str, Any] = {}
    if treatment:
        treated = await annotated(session, box, metric, [(time, value) for time, value in page], treatment)
        points, about = treated.points, treated.about
    else:
        points = [{"time": time, "value": value} for time, value in page]
    named = {"box": box.id, "metric": metric.name, "unit": metric.unit}
    return json_answer({**named, **about, "points": points, "next": following})


async def _bucketed(
    session: Reads,
    box: Measured,
    asked: Asked,
    treatment: Treatment,
    *,
    start: datetime | None,
    limit: int,
) -> Response:
    about: Mapping[str, Any] = {}
    if treatment:
        treated = await summarised(session, asked.sampled(box, start), box.interval_s, treatment)
        found, about = treated.columns, treated.about
    else:
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
            **about,
            "points": page.points,
            "next": following,
        }
    )
