"""REST for series of several boxes and metrics in one call, and for periods beside each other."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.http.contract.dependencies import ReadSessionDep, make_json_response
from app.platform.http.contract.pagination import Cursor
from app.platform.http.contract.problems import document_problems
from app.platform.identity.principals import Principal, require_scope
from app.timeseries.series import multi_series
from app.timeseries.series.bucket_query import (
    AggregatesParameter,
    BucketParameter,
    BucketQuery,
    FillParameter,
    FromParameter,
    ToParameter,
    check_bucket_parameters,
)
from app.timeseries.series.period_comparison import compare_metric_periods, parse_reference_period
from app.timeseries.series.series_arithmetic import BucketWidth, complete_range, find_metric
from app.timeseries.series.series_schemas import ComparisonsOut, SeriesPage

router: Final = APIRouter(prefix="/v1/readings", tags=["Readings"])
Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]

_MAX_POINTS: Final = 10_000
_DEFAULT_POINTS: Final = 1_000

BoxesParameter = Annotated[
    list[str],
    Query(
        max_length=multi_series.MAX_BOXES,
        description="A box; several by `box=a&box=b`",
        examples=[["box-0001"]],
    ),
]
SiteParameter = Annotated[str | None, Query(description="All boxes of this site, besides those named")]
MetricsParameter = Annotated[
    list[str],
    Query(
        min_length=1,
        max_length=len(METRICS_BY_NAME),
        description="A metric of the catalogue; several by `metric=a&metric=b`",
        examples=[["pm2_5", "no2"]],
        json_schema_extra={"items": {"type": "string", "enum": sorted(METRICS_BY_NAME)}},
    ),
]


@router.get(
    "",
    operation_id="list_readings",
    summary="Series of several boxes and metrics",
    response_model=SeriesPage,
    responses=document_problems(401, 403, 404, 422),
)
async def list_readings(
    principal: Reader,
    session: ReadSessionDep,
    *,
    metric: MetricsParameter,
    box: BoxesParameter = [],  # noqa: B006 (FastAPI copies it)
    site: SiteParameter = None,
    from_: FromParameter = None,
    to: ToParameter = None,
    bucket: BucketParameter = None,
    aggregates: AggregatesParameter = None,
    fill: FillParameter = "none",
    limit: Annotated[int, Query(ge=1, le=_MAX_POINTS, description="Points a page")] = _DEFAULT_POINTS,
    cursor: Cursor = None,
) -> Response:
    """The series of each box and metric, one after the other: boxes by their ids, metrics as they are named.

    What each point is, is told at `GET /v1/boxes/{box}/readings`. A page may end within a series, which the
    next page goes on with, and ends early where much has to be read. A series without a value has no points.
    At most 200 series.
    """
    metrics = [find_metric(name) for name in dict.fromkeys(metric)]
    span = complete_range(from_, to, datetime.now(UTC))
    bucket_queries = None
    if bucket is None:
        check_bucket_parameters(aggregates, fill)
    else:
        width = BucketWidth.parse(bucket)
        bucket_queries = {each.name: BucketQuery.of(each, width, span, aggregates, fill) for each in metrics}
    boxes = await multi_series.find_measured_boxes(session, box, site, principal.visible())
    multi_series.check_series_count(boxes, metrics)
    page = multi_series.SeriesPager(session, boxes, metrics, span, bucket_queries)
    return make_json_response(await page.read(limit, cursor))


@router.get(
    "/comparison",
    operation_id="get_readings_comparison",
    summary="A period beside an earlier one",
    response_model=ComparisonsOut,
    responses=document_problems(401, 403, 404, 422),
)
async def get_readings_comparison(
    principal: Reader,
    session: ReadSessionDep,
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
            description="`previous`, the period just before; or how much earlier the other one begins, "
            "such as `P7D` or `P364D`",
            examples=["previous"],
            json_schema_extra={"pattern": "^(previous|P.*)$"},
        ),
    ] = "previous",
) -> Response:
    """Mean, extremes, count and coverage of each box and metric in a period and in an earlier one.

    Both periods are equally long. `change` is how much the mean has moved: in the metric's unit, and in
    percent of the earlier one (not for decibels, which have no share).
    """
    metrics = [find_metric(name) for name in dict.fromkeys(metric)]
    span = complete_range(from_, to, datetime.now(UTC))
    before = parse_reference_period(span, with_)
    boxes = await multi_series.find_measured_boxes(session, box, site, principal.visible())
    multi_series.check_series_count(boxes, metrics)
    found = []
    for each in boxes:
        for of in metrics:
            sides = [
                await multi_series.summarise_period(session, each, of, period) for period in (span, before)
            ]
            found.append(compare_metric_periods(each.id, of, each.interval_s, (span, before), sides))
    return make_json_response({"data": found})
