"""Serves latest values and series of a box over REST, raw or in buckets."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response

from app.catalogue.metrics import METRICS_BY_NAME, Metric
from app.platform.db.database import ReadSession
from app.platform.http.contract.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, cut_page, encode_cursor
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    ReaderDependency,
    SessionReadsDependency,
    make_json_response,
)
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.identity.grant_access import count_granted_values, open_to_grants
from app.platform.kernel.errors import ForbiddenError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.instants import from_datetime
from app.timeseries.quality.annotated_readings import annotate_readings, summarise_unflagged_samples
from app.timeseries.quality.quality_parameters import (
    CorrectedParameter,
    ExcludeParameter,
    FlagsParameter,
    QualityOptions,
)
from app.timeseries.rollups.rollup_queries import read_bucket_summaries
from app.timeseries.series import latest_value_queries, reading_queries
from app.timeseries.series.bucket_request import (
    AggregatesParameter,
    BucketParameter,
    BucketQuery,
    FillParameter,
    FromParameter,
    ToParameter,
    check_bucket_parameters,
)
from app.timeseries.series.reading_queries import MeasuredBox
from app.timeseries.series.schemas import BucketedReadings, Latest, Readings
from app.timeseries.series.series_parameters import BucketWidth, complete_range, find_metric

router: Final = APIRouter(prefix="/v1", tags=["Readings"])
Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]

_MAX_POINTS: Final = 10_000
_DEFAULT_POINTS: Final = 1_000
_RAW: Final = "readings"
_BUCKETS: Final = "buckets"


@router.get(
    "/boxes/{box}/latest",
    summary="Read the latest values of a box",
    response_model=Latest,
    responses=document_problems(403),
)
@open_to_grants("latest")
async def get_box_latest(box: str, principal: Reader, reader: ReaderDependency) -> Response:
    """Read the latest value of each metric that the box has ever sent, by measurement time."""
    return make_json_response(await latest_value_queries.read_box_latest(reader, box, principal.visible()))


@router.get(
    "/sites/{site_id}/latest",
    summary="List the latest values of a site's boxes",
    response_model=Page[Latest],
    responses=document_problems(403),
)
@open_to_grants("latest")
async def list_site_latest(
    site_id: str,
    principal: Reader,
    reader: ReaderDependency,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """List the latest values of each box of a site, ordered by box id."""
    identifier = parse_id(site_id, "site")
    visible = principal.visible()
    rows = await latest_value_queries.read_site_latest(reader, identifier, visible, cursor, limit)
    page, following = cut_page(
        rows, limit, lambda row: encode_cursor(latest_value_queries.SITE_LATEST, row.box)
    )
    if visible.grant is None:
        shown = [row.to_json() for row in page]
    else:
        shown = await latest_value_queries.format_granted_latest(reader, page, visible)
    return make_json_response({"data": shown, "next": following})


@router.get(
    "/boxes/{box}/readings",
    summary="Read a series of a box",
    response_model=Readings | BucketedReadings,
    responses=document_problems(403),
)
@open_to_grants("readings")
async def get_box_readings(
    box: str,
    principal: Reader,
    reads: SessionReadsDependency,
    *,
    metric: Annotated[
        str,
        Query(
            max_length=64,
            description="A metric of the catalogue",
            examples=["pm2_5"],
            json_schema_extra={"enum": sorted(METRICS_BY_NAME)},
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
    limit: Annotated[int, Query(ge=1, le=_MAX_POINTS, description="Points per page")] = _DEFAULT_POINTS,
    cursor: Cursor = None,
) -> Response:
    """Read the values of one metric in ascending order of time.

    With `bucket`, each point has the mean, lowest and highest value, count and coverage of a bucket, or the
    aggregates named in `aggregates`. Decibels are averaged by energy. Buckets of days and weeks begin at
    midnight in the site's time zone; all others are aligned to UTC. A range may have 10,000 buckets at most.
    Buckets of hours and days use stored roll-ups: they are quick even over years, and always exact.

    Stored values never change. `flags` adds quality flags to raw values, `exclude` leaves flagged samples out
    of buckets, and `corrected` applies the box's corrections. These three read samples, 5,000,000 at most.
    """
    catalogue_metric = find_metric(metric)
    visible = principal.visible()
    visible.check_metrics([metric])
    span = visible.limit_span(*complete_range(from_, to, datetime.now(UTC)))
    options = QualityOptions.of(
        flags=flags, exclude=exclude, corrected=corrected, bucketed=bucket is not None
    )
    if options and visible.grant is not None:
        # Flags depend on values beside the range, and corrections on the humidity.
        raise ForbiddenError(
            "`flags`, `exclude` and `corrected` use values that a grant may not include. Omit them.",
            code="quality_not_granted",
        )
    query = None
    if bucket is None:
        check_bucket_parameters(aggregates, fill)
    else:
        query = BucketQuery.of(catalogue_metric, BucketWidth.parse(bucket), span, aggregates, fill)

    async def read(session: ReadSession) -> Response:
        measured = await reading_queries.get_measured_box(session, box, visible)
        kind = _RAW if query is None else _BUCKETS
        start = None if cursor is None else reading_queries.decode_time_cursor(kind, cursor)
        own = measured.limit_span(visible, metric, span)
        if own is None:
            head = _describe_series(measured, catalogue_metric, query)
            return make_json_response({**head, "points": [], "next": None})
        if query is None:
            return await _read_raw(
                session, measured, catalogue_metric, own, options, start=start, limit=limit
            )
        return await _read_buckets(session, measured, query.limit(own), options, start=start, limit=limit)

    return await reads.run(read)


async def _read_raw(
    session: ReadSession,
    box: MeasuredBox,
    metric: Metric,
    span: tuple[datetime, datetime],
    options: QualityOptions,
    *,
    start: datetime | None,
    limit: int,
) -> Response:
    # Times are unique per box, so the next page begins a microsecond after the last value.
    first = span[0] if start is None else max(span[0], start)
    rows = await reading_queries.read_metric_values(
        session, box, metric, first=first, last=span[1], limit=limit
    )
    page, following = cut_page(rows, limit, lambda row: encode_cursor(_RAW, from_datetime(row[0]) + 1))
    points: Sequence[Mapping[str, Any]]
    metadata: Mapping[str, Any] = {}
    if options:
        annotated = await annotate_readings(session, box, metric, page, options)
        points, metadata = annotated.points, annotated.metadata
    else:
        points = [{"time": time, "value": value} for time, value in page]
    count_granted_values(len(points), sites=[box.site_id], metrics=[metric.name])
    head = _describe_series(box, metric, None)
    return make_json_response({**head, **metadata, "points": points, "next": following})


def _describe_series(box: MeasuredBox, metric: Metric, query: BucketQuery | None) -> dict[str, Any]:
    head = {"box": box.id, "metric": metric.name, "unit": metric.unit}
    if query is None:
        return head
    zone = box.timezone if query.bucket.local else "UTC"
    return {**head, "bucket": query.bucket.text, "timezone": zone}


async def _read_buckets(
    session: ReadSession,
    box: MeasuredBox,
    query: BucketQuery,
    options: QualityOptions,
    *,
    start: datetime | None,
    limit: int,
) -> Response:
    metadata: Mapping[str, Any] = {}
    if options:
        annotated = await summarise_unflagged_samples(
            session, query.series_from_samples(box, start), box.interval_s, options
        )
        found, metadata = annotated.columns, annotated.metadata
    else:
        found = await read_bucket_summaries(session, query.series(box, start))
    page = query.format_page(box, found, limit, start)
    following = None if page.following is None else encode_cursor(_BUCKETS, page.following)
    count_granted_values(len(page.points), sites=[box.site_id], metrics=[query.metric.name])
    head = _describe_series(box, query.metric, query)
    return make_json_response({**head, **metadata, "points": page.points, "next": following})
