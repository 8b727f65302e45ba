"""Reads time series for EDR queries: of one box, of the nearest one, of all boxes in an area."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry

from app.ogc_api.coverage_json import BoxCoverage
from app.ogc_api.feature_json import Row
from app.ogc_api.query_parameters import TimeSpan
from app.platform.db.database import ReadSession
from app.platform.kernel.errors import NotFoundError
from app.sensorthings.box_places import find_boxes_near
from app.sensorthings.box_series import BoxSeries, find_measuring_boxes, find_series
from app.sensorthings.geometry_filters import parse_geometry
from app.sensorthings.observation_queries import ObservationQuery, current_time_us, read_observations
from app.sensorthings.query_tree import Expression, Literal, Operation, PropertyPath
from app.standard_apis.query_error import QueryError

MOST_SERIES: Final = 500
"""The most series of an answer: one for each box and metric."""
MOST_VALUES: Final = 100_000
"""The most values of an answer."""
FARTHEST_M: Final = 1_000.0
"""How far from a position the nearest box may be (metres)."""
_AREAS: Final = frozenset({"Polygon", "MultiPolygon"})


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """Selects values of boxes.

    Attributes:
        metrics: of these metrics; None: all.
        span: of this time range.
        hourly: hourly means instead of stored values.
    """

    metrics: tuple[str, ...] | None
    span: TimeSpan
    hourly: bool


def parse_coords(text: str, *, area: bool) -> BaseGeometry:
    """Parse `coords` in well-known text: a point, or the polygons of an area (QueryError)."""
    example = "POLYGON((1.4 43.5,1.5 43.5,1.5 43.7,1.4 43.5))" if area else "POINT(1.44 43.6)"
    try:
        geometry = parse_geometry(Literal("geo", text, 0), example)
    except QueryError as error:
        raise error.of_option("coords") from None
    if geometry.geom_type not in (_AREAS if area else {"Point"}):
        raise QueryError(
            f"`coords` is a {geometry.geom_type}. Use {'an area' if area else 'a point'}: coords={example}.",
            code="invalid_geometry",
            option="coords",
        )
    return geometry


async def find_nearest_box(session: ReadSession, point: BaseGeometry, query: SeriesQuery) -> int:
    """Find the nearest box that has a series of the query (NotFoundError)."""
    near = await find_boxes_near(session, point, FARTHEST_M)
    measuring = await find_measuring_boxes(session, near, query.metrics, hourly=query.hourly)
    for box in near:
        if box in measuring:
            return box
    place = shapely.to_wkt(point, output_dimension=2)
    raise NotFoundError(f"box with such values within {FARTHEST_M:,.0f} m of", place)


async def read_coverages(session: ReadSession, boxes: Sequence[int], query: SeriesQuery) -> list[BoxCoverage]:
    """Read the values of boxes, without those boxes that have none (QueryError `query_too_large`)."""
    found = await find_series(session, boxes, query.metrics, hourly=query.hourly, limit=MOST_SERIES + 1)
    if len(found) > MOST_SERIES:
        raise QueryError(
            f"The query has more than {MOST_SERIES} series. Choose a smaller area, or metrics by "
            "`parameter-name`.",
            code="query_too_large",
        )
    coverages, left = [], MOST_VALUES
    for row, several in _group(found):
        values: dict[str, dict[int, float]] = {}
        for one in several:
            values[one.series.metric.name] = await _read_values(session, one, query, left)
            left -= len(values[one.series.metric.name])
        if any(values.values()):
            coverages.append(BoxCoverage(row, values))
    return coverages


def _group(found: Sequence[BoxSeries]) -> Iterator[tuple[Row, list[BoxSeries]]]:
    for _, several in groupby(found, key=lambda each: each.series.box_key):
        group = list(several)
        yield group[0].row, group


async def _read_values(
    session: ReadSession, one: BoxSeries, query: SeriesQuery, left: int
) -> dict[int, float]:
    observation_query = ObservationQuery(_build_time_conditions(query.span), now_us=current_time_us())
    rows = await read_observations(session, one.series, observation_query, left + 1)
    if len(rows) > left:
        raise QueryError(
            f"The query has more than {MOST_VALUES:,} values. Choose a shorter time range by `datetime`, a "
            "smaller area, or metrics by `parameter-name`. GET /v1/readings/export has no such limit.",
            code="query_too_large",
        )
    return {row.time_us: row.result for row in rows}


def _build_time_conditions(span: TimeSpan) -> tuple[Expression, ...]:
    time = PropertyPath(("phenomenonTime",), 0)
    return (
        Operation("ge", time, Literal("instant", span.first_us, 0), 0),
        Operation("le", time, Literal("instant", span.last_us, 0), 0),
    )
