"""Parses and validates the query parameters of an export, and builds its canonical URL."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.http.contract.fields import Identifier, InstantParameter
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import format_us, from_datetime
from app.platform.kernel.tenant_scope import TenantScope
from app.timeseries.exports.export_selection import (
    ExportSelection,
    ExportSpan,
    RowPosition,
    advance_position,
    check_selection_exists,
    find_measured_metrics,
    find_shortest_interval,
    find_summarised_metrics,
)
from app.timeseries.exports.row_slice_reader import RowExport, SampleExport
from app.timeseries.exports.row_source import RawSamples
from app.timeseries.exports.time_bucket_export import BucketExport
from app.timeseries.exports.time_bucket_layout import BucketLayout
from app.timeseries.series.bucket_request import (
    AggregatesParameter,
    BucketParameter,
    check_bucket_parameters,
)
from app.timeseries.series.series_parameters import complete_range, find_metric

PATH: Final = "/v1/readings/export"

_LISTED_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """The parameters of an export.

    Attributes:
        sites: only at these sites; empty: all in the tenant scope.
        boxes: only these boxes; empty: all.
        metrics: in catalogue order; None: all that the boxes have ever sent.
        first: start of the span.
        last: end of the span, exclusive.
        is_explicit: whether span and metrics were all given.
        bucketing: bucket width and aggregates; None: raw samples.
        offered: the metrics that the format has; None: all.
    """

    sites: tuple[UUID, ...]
    boxes: tuple[str, ...]
    metrics: tuple[str, ...] | None
    first: datetime
    last: datetime
    is_explicit: bool
    bucketing: BucketLayout | None = None
    offered: frozenset[str] | None = None

    def selection(self, visible: TenantScope) -> ExportSelection:
        """Return the selected boxes within a tenant scope."""
        return ExportSelection(visible, self.sites, self.boxes)

    async def export(
        self,
        session: AsyncSession,
        visible: TenantScope,
        start: RowPosition | None,
        until: RowPosition | None,
    ) -> SampleExport | BucketExport:
        """Build the export.

        Args:
            session: checks that boxes and sites exist, and finds the metrics.
            visible: the tenant scope.
            start: position of the first row; None: from the beginning.
            until: position of the last row; None: to the end.

        Raises:
            InvalidError: `too_many_boxes`, `invalid_aggregate`, `range_too_large`.
            ForbiddenError: `metric_not_granted`, `outside_grant`.
            NotFoundError: A box or a site does not exist in the tenant scope.
        """
        selection = self.selection(visible)
        first, last = visible.limit_span(self.first, self.last)
        visible.check_metrics(self.metrics or ())
        await check_selection_exists(session, selection)
        metrics = self.metrics
        if metrics is None:
            measured = await self._find_metrics(session, selection, ExportSpan(first, last))
            if self.offered is not None:
                measured = [name for name in measured if name in self.offered]
            metrics = tuple(name for name in measured if visible.find_sites(name) != ())
        span = ExportSpan(first, last, start, until)
        if self.bucketing is None:
            sites = {name: visible.find_sites(name) for name in metrics}
            return SampleExport(selection, span, RawSamples.of(metrics, first, last, sites))
        columns = self.bucketing.columns(metrics)
        self.bucketing.check_samples(await find_shortest_interval(session, selection))
        return BucketExport(selection, span, metrics, self.bucketing, columns)

    async def _find_metrics(
        self, session: AsyncSession, selection: ExportSelection, span: ExportSpan
    ) -> list[str]:
        """Find the metrics of the boxes; for buckets also those of which only roll-ups are left."""
        found = set(await find_measured_metrics(session, selection))
        if self.bucketing is not None:
            for rollup, names in self.bucketing.group_by_rollup(METRICS_BY_NAME.keys() - found).items():
                found.update(await find_summarised_metrics(session, selection, span, rollup, names))
        return [name for name in METRICS_BY_NAME if name in found]

    def check_explicit(self) -> None:
        """Check that span and metrics are given, so that a repeated request selects the same rows.

        Raises:
            InvalidError: `range_required`.
        """
        if not self.is_explicit:
            raise InvalidError(
                "`after` and `part` need `from`, `to` and `metric`. Copy them from the Content-Location "
                "header of the first response, or from the part's `href`.",
                code="range_required",
            )

    def address(self, export: RowExport, **more: str) -> str:
        """Build the path with all parameters, including the values of those that were omitted."""
        parameters = [
            *more.items(),
            *self.bucket_parameters(),
            ("from", format_row_time(self.first)),
            ("to", format_row_time(self.last)),
            *(("site", str(site)) for site in self.sites),
            *(("box", box) for box in self.boxes),
            *(("metric", name) for name in export.metrics),
        ]
        return f"{PATH}?{urlencode(parameters, safe=':,')}"

    def bucket_parameters(self) -> list[tuple[str, str]]:
        """Return the parameters of buckets, if any."""
        if self.bucketing is None:
            return []
        return [("bucket", self.bucketing.bucket.text), ("aggregates", ",".join(self.bucketing.names))]


def format_row_time(moment: datetime) -> str:
    """Format a time as in the files."""
    return format_us(from_datetime(moment))


async def parse_export_query(
    *,
    site: Annotated[
        list[Identifier] | None,
        Query(max_length=_LISTED_MOST, description="Only boxes at this site; repeat it for several sites"),
    ] = None,
    box: Annotated[
        list[Annotated[str, Query(max_length=64)]] | None,
        Query(
            max_length=_LISTED_MOST, description="Only this box; repeat it for several boxes (100 at most)"
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        Query(
            max_length=_LISTED_MOST,
            description="Metric of the catalogue; repeat it for several. By default all that the boxes have "
            "ever sent",
            json_schema_extra={"items": {"type": "string", "enum": sorted(METRICS_BY_NAME)}},
        ),
    ] = None,
    from_: Annotated[
        InstantParameter | None, Query(alias="from", description="Inclusive; 24 hours before `to` by default")
    ] = None,
    to: Annotated[InstantParameter | None, Query(description="Exclusive; now by default")] = None,
    bucket: BucketParameter = None,
    aggregates: AggregatesParameter = None,
) -> ExportQuery:
    """Parse the query parameters.

    Args:
        site: ids of sites; None: all in the tenant scope.
        box: ids of boxes; None: all.
        metric: names of metrics; None: all that the boxes have ever sent.
        from_: start of the span, inclusive; None: 24 hours before its end.
        to: end of the span, exclusive; None: now.
        bucket: bucket width, such as `1h`; None: raw samples.
        aggregates: aggregates of buckets, separated by commas; None: the default ones.

    Raises:
        InvalidError: `unknown_metric`, `range_reversed`, `bucket_missing`, or those of BucketLayout.of.
    """
    if bucket is None:
        check_bucket_parameters(aggregates, "none")
    named = None if metric is None else {find_metric(name).name for name in metric}
    first, last = complete_range(from_, to, datetime.now(UTC))
    return ExportQuery(
        tuple(dict.fromkeys(site or ())),
        tuple(dict.fromkeys(box or ())),
        None if named is None else tuple(name for name in METRICS_BY_NAME if name in named),
        first,
        last,
        None not in (named, from_, to),
        None if bucket is None else BucketLayout.of(bucket, aggregates, first, last),
    )


def resolve_start_position(after: RowPosition | None, start: RowPosition | None) -> RowPosition | None:
    """Return the start of a file: after the last row that the client has, and not before its part."""
    if after is None or start is None:
        return start if after is None else advance_position(after)
    return max(advance_position(after), start, key=_sort_key)


def _sort_key(place: RowPosition) -> tuple[str, bool, int]:
    return place.box, place.time is None, 0 if place.time is None else from_datetime(place.time)
