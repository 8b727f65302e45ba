"""Serves series of several boxes and metrics, and comparisons of periods, over REST."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.db.database import ReadSession
from app.platform.http.contract.pagination import Cursor
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import SessionReadsDependency, make_json_response
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.identity.grant_access import open_to_grants
from app.timeseries.series import multi_series
from app.timeseries.series.bucket_request import (
    AggregatesParameter,
    BucketParameter,
    BucketQuery,
    FillParameter,
    FromParameter,
    ToParameter,
    check_bucket_parameters,
)
from app.timeseries.series.multi_series_schemas import ComparisonsOut, SeriesPage
from app.timeseries.series.period_comparison import compare_metric_periods, parse_reference_period
from app.timeseries.series.series_parameters import BucketWidth, complete_range, find_metric

router: Final = APIRouter(prefix="/v1/readings", tags=["Readings"])
Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]

_MAX_POINTS: Final = 10_000
_DEFAULT_POINTS: Final = 1_000

BoxesParameter = Annotated[
    list[str],
    Query(
        max_length=multi_series.MAX_BOXES,
        description="Box id; repeat it for several boxes (`box=a&box=b`)",
        examples=[["box-0001"]],
    ),
]
SiteParameter = Annotated[
    str | None, Query(description="All boxes of this site, in addition to those in `box`")
]
MetricsParameter = Annotated[
    list[str],
    Query(
        min_length=1,
        max_length=len(METRICS_BY_NAME),
        description="Metric of the catalogue; repeat it for several metrics (`metric=a&metric=b`)",
        examples=[["pm2_5", "no2"]],
        json_schema_extra={"items": {"type": "string", "enum": sorted(METRICS_BY_NAME)}},
    ),
]


@router.get(
    "",
    summary="Read series of several boxes and metrics",
    response_model=SeriesPage,
    responses=document_problems(403, 404),
)
@open_to_grants("readings")
async def list_readings(
    principal: Reader,
    reads: SessionReadsDependency,
    *,
    metric: MetricsParameter,
    box: BoxesParameter = [],  # noqa: B006 (FastAPI copies it)
    site: SiteParameter = None,
    from_: FromParameter = None,
    to: ToParameter = None,
    bucket: BucketParameter = None,
    aggregates: AggregatesParameter = None,
    fill: FillParameter = "none",
    limit: Annotated[int, Query(ge=1, le=_MAX_POINTS, description="Points per page")] = _DEFAULT_POINTS,
    cursor: Cursor = None,
) -> Response:
    """Read one series per box and metric: boxes ordered by id, metrics as in the request, 200 at most.

    For the points see `GET /v1/boxes/{box}/readings`. A page may end within a series, which the next page
    continues, and may have fewer points than `limit` if reading takes long. A series without values has no
    points.
    """
    metrics = [find_metric(name) for name in dict.fromkeys(metric)]
    visible = principal.visible()
    visible.check_metrics(each.name for each in metrics)
    span = visible.limit_span(*complete_range(from_, to, datetime.now(UTC)))
    bucket_queries = None
    if bucket is None:
        check_bucket_parameters(aggregates, fill)
    else:
        width = BucketWidth.parse(bucket)
        bucket_queries = {each.name: BucketQuery.of(each, width, span, aggregates, fill) for each in metrics}

    async def read(session: ReadSession) -> Response:
        boxes = await multi_series.find_measured_boxes(session, box, site, visible)
        multi_series.check_series_count(boxes, metrics)
        page = multi_series.SeriesPager(session, boxes, metrics, span, bucket_queries, visible=visible)
        return make_json_response(await page.read(limit, cursor))

    return await reads.run(read)


@router.get(
    "/comparison",
    summary="Compare a period with an earlier one",
    response_model=ComparisonsOut,
    responses=document_problems(403, 404),
)
async def get_readings_comparison(
    principal: Reader,
    reads: SessionReadsDependency,
    *,
    metric: MetricsParameter,
    box: BoxesParameter = [],  # noqa: B006 (FastAPI copies it)
    site: SiteParameter = None,
    from_: FromParameter = None,
    to: ToParameter = None,
    with_: Annotated[
        str,
        Query(
            alias="with",
            max_length=32,
            description="`previous` for the period just before, or how much earlier the other period begins, "
            "such as `P7D` or `P364D`",
            examples=["previous"],
            json_schema_extra={"pattern": "^(previous|P.*)$"},
        ),
    ] = "previous",
) -> Response:
    """Compare mean, extremes, count and coverage of each box and metric with an equally long earlier period.

    `change` is the difference of the means: in the metric's unit, and in percent of the earlier mean. There
    is no percentage for decibels, nor for metrics without a natural zero.
    """
    metrics = [find_metric(name) for name in dict.fromkeys(metric)]
    span = complete_range(from_, to, datetime.now(UTC))
    before = parse_reference_period(span, with_)

    async def read(session: ReadSession) -> Response:
        boxes = await multi_series.find_measured_boxes(session, box, site, principal.visible())
        multi_series.check_series_count(boxes, metrics)
        found = []
        for each in boxes:
            for of in metrics:
                sides = [
                    await multi_series.summarise_period(session, each, of, period)
                    for period in (span, before)
                ]
                found.append(compare_metric_periods(each.id, of, each.interval_s, (span, before), sides))
        return make_json_response({"data": found})

    return await reads.run(read)
