"""Reads series of several boxes and metrics, page by page.

A page may end within a series, and ends early if it takes long.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import Metric
from app.platform.http.contract.fields import check_box_id
from app.platform.http.contract.pagination import decode_cursor, encode_cursor
from app.platform.identity.grant_access import count_granted_values
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.instants import from_datetime
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_repository import parse_box_id
from app.registry.models import Box, Site
from app.timeseries.rollups import rollup_merging
from app.timeseries.rollups.rollup_merging import RollupColumns
from app.timeseries.rollups.rollup_queries import BoxSeriesQuery, read_bucket_summaries
from app.timeseries.series.bucket_page_formatting import format_rfc3339
from app.timeseries.series.bucket_request import BucketQuery
from app.timeseries.series.reading_queries import MeasuredBox, parse_sample_instant, read_metric_values
from app.timeseries.series.series_parameters import BucketWidth, clamp_span

MAX_BOXES: Final = 100
"""The most boxes that a request can name; a site may have more."""
MAX_SERIES: Final = 200

_CURSOR_KIND: Final = "several"
_HOURS: Final = BucketWidth.parse("1h")
_DAYS: Final = BucketWidth.parse("1d")
_LONG: Final = timedelta(days=400)
# A page ends after this time, because each of its series may read as many samples as a single one.
_PAGE_S: Final = 10.0


async def find_measured_boxes(
    session: AsyncSession, boxes: Sequence[str], site: str | None, visible: TenantScope
) -> list[MeasuredBox]:
    """Find the named boxes and those of a site, ordered by id.

    Args:
        session: reads them.
        boxes: ids of named boxes.
        site: id of a site, or None.
        visible: the tenant scope.

    Raises:
        NotFoundError: A box or the site does not exist in the tenant scope.
        InvalidError: `boxes_missing`.
    """
    named = {parse_box_id(identifier) for identifier in boxes}
    if not named and site is None:
        raise InvalidError("The request names no boxes. Add `box` or `site`.", code="boxes_missing")
    site_id = None if site is None else parse_id(site, "site")
    if site_id is not None:
        query = select(Site.id).where(Site.id == site_id, *visible.within(Site.organisation_id, Site.id))
        if await session.scalar(query) is None:
            raise NotFoundError("site", site_id)
    conditions: list[ColumnElement[bool]] = [Box.id.in_(named)] if named else []
    if site_id is not None:
        conditions.append(Box.site_id == site_id)
    rows = await session.execute(
        select(Box.key, Box.id, Box.interval_s, Site.timezone, Box.site_id, Box.came_at)
        .join(Site, Site.id == Box.site_id)
        .where(or_(*conditions), Box.deleted_at.is_(None), *visible.within(Box.organisation_id, Box.site_id))
        .order_by(Box.id)
        .limit(MAX_BOXES + MAX_SERIES + 1)
    )
    found = [MeasuredBox(*row) for row in rows]
    for identifier in sorted(named - {box.id for box in found}):
        raise NotFoundError("box", identifier)
    return found


def check_series_count(boxes: Sequence[MeasuredBox], metrics: Sequence[Metric]) -> None:
    """Refuse a request for more than 200 series (InvalidError `too_many_series`)."""
    if len(boxes) * len(metrics) > MAX_SERIES:
        raise InvalidError(
            f"The request has {len(boxes) * len(metrics)} series; the limit is {MAX_SERIES}. Name fewer "
            "boxes or metrics, or use `GET /v1/readings/export`.",
            code="too_many_series",
            extra={"maximum_series": MAX_SERIES},
        )


async def summarise_period(
    session: AsyncSession, box: MeasuredBox, metric: Metric, period: tuple[datetime, datetime]
) -> RollupColumns:
    """Aggregate a whole period; returns no entry if nothing was measured.

    Args:
        session: reads it.
        box: the box.
        metric: of the catalogue.
        period: start and end (exclusive).
    """
    first, last = clamp_span(*period)
    if first >= last:
        return rollup_merging.make_empty_columns()
    bucket = _HOURS if last - first < _LONG else _DAYS
    found = await read_bucket_summaries(
        session, BoxSeriesQuery(box.key, metric, bucket, box.timezone, first, last)
    )
    return rollup_merging.merge_columns(
        [found.begun(np.zeros(len(found), np.int64))], level=metric.kind == "level"
    )


class SeriesPager:
    """Pages through the series of boxes and metrics.

    Args:
        session: reads them.
        boxes, metrics: of the series; boxes ordered by id.
        span: the range; its end is exclusive.
        bucket_queries: by metric; None for raw values.
        visible: the tenant scope. A series that it does not allow has no points.
    """

    def __init__(
        self,
        session: AsyncSession,
        boxes: Sequence[MeasuredBox],
        metrics: Sequence[Metric],
        span: tuple[datetime, datetime],
        bucket_queries: Mapping[str, BucketQuery] | None,
        *,
        visible: TenantScope,
    ) -> None:
        self._session = session
        self._series = [(box, metric) for box in boxes for metric in metrics]
        self._span = span
        self._bucket_queries = bucket_queries
        self._visible = visible

    async def read(self, limit: int, cursor: str | None) -> dict[str, Any]:
        """Read a page of at most `limit` points, from a cursor on (InvalidError `invalid_cursor`)."""
        position, start = self._locate(cursor)
        found: list[dict[str, Any]] = []
        left = limit
        until = time.monotonic() + _PAGE_S
        following = None
        for number in range(position, len(self._series)):
            box, metric = self._series[number]
            if not left or (found and time.monotonic() >= until):
                following = encode_cursor(_CURSOR_KIND, box.id, metric.name, None)
                break
            span = box.limit_span(self._visible, metric.name, self._span)
            if span is None:
                series, later = self._describe_empty_series(box, metric), None
            else:
                series, later = await self._read_series(box, metric, span, start, left)
            count_granted_values(len(series["points"]), sites=[box.site_id], metrics=[metric.name])
            found.append(series)
            left -= len(series["points"])
            start = None
            if later is not None:
                following = encode_cursor(_CURSOR_KIND, box.id, metric.name, later)
                break
        return {"data": found, "next": following}

    def _locate(self, cursor: str | None) -> tuple[int, datetime | None]:
        if cursor is None:
            return 0, None
        box, metric, time_us = decode_cursor(
            _CURSOR_KIND,
            cursor,
            check_box_id,
            str,
            lambda part: None if part is None else parse_sample_instant(part),
        )
        for number, (each, of) in enumerate(self._series):
            # Skips a box that was deleted since the page before.
            if each.id > box or (each.id == box and of.name == metric):
                return number, time_us if each.id == box else None
        return len(self._series), None

    async def _read_series(
        self,
        box: MeasuredBox,
        metric: Metric,
        span: tuple[datetime, datetime],
        start: datetime | None,
        limit: int,
    ) -> tuple[dict[str, Any], int | None]:
        head = self._describe_empty_series(box, metric)
        if self._bucket_queries is None:
            first = span[0] if start is None else max(start, span[0])
            rows = await read_metric_values(
                self._session, box, metric, first=first, last=span[1], limit=limit
            )
            times = format_rfc3339(np.array([from_datetime(time) for time, _ in rows[:limit]], np.int64))
            points = [
                {"time": time, "value": value} for time, (_, value) in zip(times, rows[:limit], strict=True)
            ]
            later = from_datetime(rows[limit - 1][0]) + 1 if len(rows) > limit else None
            return {**head, "points": points}, later
        query = self._bucket_queries[metric.name].limit(span)
        page = query.format_page(
            box, await read_bucket_summaries(self._session, query.series(box, start)), limit, start
        )
        return {**head, "points": page.points}, page.following

    def _describe_empty_series(self, box: MeasuredBox, metric: Metric) -> dict[str, Any]:
        series = {"box": box.id, "metric": metric.name, "unit": metric.unit}
        if self._bucket_queries is not None:
            bucket = self._bucket_queries[metric.name].bucket
            series |= {"bucket": bucket.text, "timezone": box.timezone if bucket.local else "UTC"}
        return {**series, "points": []}
