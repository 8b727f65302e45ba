"""Selects the boxes and metrics of an export, and defines the order and positions of its rows.

Rows are ordered by (box id, time). Ids are compared byte by byte, independent of the database's collation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    case,
    collate,
    column,
    func,
    literal,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import COLUMNS, METRICS_BY_NAME
from app.catalogue.purposes import PURPOSE_BY_METRIC
from app.platform.http.contract.fields import check_box_id
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.instants import check_range, parse_rfc3339, to_datetime
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Site
from app.timeseries.exports.copy_query import ExportedBox
from app.timeseries.series.latest_value_queries import read_newer_samples
from app.timeseries.storage.box_state_cache import NEVER
from app.timeseries.storage.models import BoxState

MAX_NAMED_BOXES: Final = 100
"""The most boxes that a request can name, to limit the length of the URL. A site may have any number."""

_box_id: Final = collate(Box.id, "C")
_MICROSECOND: Final = timedelta(microseconds=1)
# A local day is 25 hours long when clocks go back.
_LONGEST_DAY: Final = timedelta(hours=25)
# LIMIT has it look up box by box by the primary key, up to the first one.
_SUMMARISED: Final = """
SELECT m.metric FROM unnest(CAST(:metrics AS text[]), CAST(:purposes AS text[])) AS m (metric, purpose),
LATERAL (
    SELECT FROM unnest(CAST(:keys AS int[]), CAST(:removed AS text[])) AS k (key, purpose),
    LATERAL (
        SELECT FROM tenant_{} r
        WHERE r.box_key = k.key AND r.metric = m.metric AND r.day > :after AND r.day < :last LIMIT 1
    ) r
    WHERE k.purpose = m.purpose LIMIT 1
) found
"""
_REMOVED: Final = table(
    "retention_states",
    column("box_key", Integer),
    column("purpose", Text),
    column("removed_until", TIMESTAMP(timezone=True)),
)
# The number of boxes whose latest values are read at a time.
_AT_ONCE: Final = 1_000


class RowPosition(NamedTuple):
    """The position of a row in the order.

    Attributes:
        box: the id of its box.
        time: its measurement time; None: after all rows of the box.
    """

    box: str
    time: datetime | None

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse `<box>,<time>` from a client (InvalidError `invalid_position`)."""
        box, _, time = text.rpartition(",")
        try:
            check_box_id(box)
            time_us = parse_rfc3339(time)
            check_range(time_us)
            return cls(box, to_datetime(time_us))
        except (CodedValueError, RejectedError) as error:
            raise InvalidError(
                f"{format_rejected_value(text)} is not a position in an export. Give a box id, a comma and "
                f"the time of a row, as in the file.",
                code="invalid_position",
            ) from error


@dataclass(frozen=True, slots=True)
class ExportSelection:
    """The boxes of an export.

    Attributes:
        visible: the tenant scope.
        sites: only at these sites; empty: at any.
        boxes: only these boxes; empty: any.
    """

    visible: TenantScope
    sites: tuple[UUID, ...] = ()
    boxes: tuple[str, ...] = ()

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a query on boxes."""
        found = [Box.deleted_at.is_(None), *self.visible.within(Box.organisation_id, Box.site_id)]
        if self.sites:
            found.append(Box.site_id.in_(self.sites))
        if self.boxes:
            found.append(Box.id.in_(self.boxes))
        return found

    def place(self, box: ExportedBox) -> ExportedBox:
        """Return a box with its position as precise as the caller may know it."""
        grant = self.visible.grant
        if grant is None:
            return box
        longitude, latitude = grant.place(box.longitude, box.latitude)
        return box._replace(longitude=longitude, latitude=latitude)

    def page(
        self, span: "ExportSpan", start: RowPosition | None, boxes: int, end: datetime | None = None
    ) -> Select[*tuple[Any, ...]]:
        """Select the next boxes in order, with `since` and `before`, the time range of their rows.

        Args:
            span: range of the export.
            start: the first row; None: the first one of the span.
            boxes: the highest number of boxes.
            end: only rows of the first box, before this time.
        """
        since: ColumnElement[datetime] = literal(span.first, TIMESTAMP(timezone=True))
        before: ColumnElement[datetime] = literal(span.last, TIMESTAMP(timezone=True))
        conditions = self.conditions()
        if start is not None:
            after_box = start.time is None
            conditions.append(_box_id > start.box if after_box else _box_id >= start.box)
            since = case((_box_id == start.box, literal(start.time, TIMESTAMP(timezone=True))), else_=since)
        if end is not None:
            before = literal(end, TIMESTAMP(timezone=True))
        if end is not None and start is not None and start.time is not None:
            conditions.append(_box_id == start.box)
        if self.visible.grant is not None:
            # NULL, for a box that never came from another site, does not count.
            since = func.greatest(since, Box.came_at)
        if span.until is not None:
            conditions.append(_box_id <= span.until.box)
        if span.until is not None and span.until.time is not None:
            last = literal(span.until.time + _MICROSECOND, TIMESTAMP(timezone=True))
            before = case((_box_id == span.until.box, func.least(last, before)), else_=before)
        # A box has both coordinates or neither.
        place = (
            func.coalesce(Box.longitude, Site.longitude).label("longitude"),
            func.coalesce(Box.latitude, Site.latitude).label("latitude"),
        )
        return (
            select(
                Box.key,
                _box_id.label("id"),
                Box.site_id,
                *place,
                since.label("since"),
                before.label("before"),
                Box.register_number,
            )
            .join(Site, Site.id == Box.site_id)
            .where(*conditions)
            .order_by(_box_id)
            .limit(boxes if end is None else 1)
        )


@dataclass(frozen=True, slots=True)
class ExportSpan:
    """The range of an export.

    Attributes:
        first: start, inclusive.
        last: end, exclusive.
        start: position of the first row; None: from the beginning.
        until: position of the last row, inclusive; None: to the end.
    """

    first: datetime
    last: datetime
    start: RowPosition | None = None
    until: RowPosition | None = None


def advance_position(position: RowPosition) -> RowPosition:
    """Return the first position after a row."""
    return position if position.time is None else RowPosition(position.box, position.time + _MICROSECOND)


async def check_selection_exists(session: AsyncSession, selection: ExportSelection) -> None:
    """Check that all named sites and boxes exist in the tenant scope.

    Raises:
        InvalidError: `too_many_boxes`.
        NotFoundError: One of them does not exist in the tenant scope.
    """
    visible = selection.visible
    if len(selection.boxes) > MAX_NAMED_BOXES:
        raise InvalidError(
            f"The request names more than {MAX_NAMED_BOXES} boxes. Use `site`, or send several requests.",
            code="too_many_boxes",
        )
    if selection.sites:
        query = select(Site.id).where(Site.id.in_(selection.sites))
        existing = set(await session.scalars(query.where(*visible.within(Site.organisation_id, Site.id))))
        for site in selection.sites:
            if site not in existing:
                raise NotFoundError("site", site)
    if selection.boxes:
        named = select(Box.id).where(*ExportSelection(visible, boxes=selection.boxes).conditions())
        known = set(await session.scalars(named))
        for box in selection.boxes:
            if box not in known:
                raise NotFoundError("box", box)


async def find_selected_organisations(session: AsyncSession, selection: ExportSelection) -> Sequence[UUID]:
    """Find the organisations of the boxes."""
    query = select(Box.organisation_id).distinct().where(*selection.conditions())
    return (await session.scalars(query.order_by(Box.organisation_id))).all()


async def find_shortest_interval(session: AsyncSession, selection: ExportSelection) -> int:
    """Return the shortest sampling interval of the boxes (s); one second if there are none."""
    return await session.scalar(select(func.min(Box.interval_s)).where(*selection.conditions())) or 1


async def find_measured_metrics(session: AsyncSession, selection: ExportSelection) -> list[str]:
    """Find all metrics of the catalogue that the boxes have ever sent, and whose samples have not expired.

    It reads latest values, not the samples of the span, which may be long.
    """
    names = func.jsonb_object_keys(BoxState.latest)
    query = select(names).distinct().join(Box, Box.key == BoxState.box_key).where(*selection.conditions())
    found = set(await session.scalars(query))
    marks = select(Box.key, func.coalesce(BoxState.newest_us, NEVER))
    marks = marks.join(BoxState, Box.key == BoxState.box_key).where(*selection.conditions())
    newest = (await session.execute(marks)).all()
    for batch in batched(newest, _AT_ONCE):
        for _, _, *values in await read_newer_samples(session, dict(batch)):
            found.update(name for name, value in zip(COLUMNS, values, strict=True) if value is not None)
    return [name for name in METRICS_BY_NAME if name in found]


async def find_summarised_metrics(
    session: AsyncSession, selection: ExportSelection, span: ExportSpan, rollup: str, metrics: Sequence[str]
) -> list[str]:
    """Find the metrics whose samples have expired in the span while the boxes still have roll-ups of them.

    Args:
        session: reads them.
        selection: the boxes.
        span: range of the export.
        rollup: the roll-ups, `hourly` or `daily`.
        metrics: of these metrics.
    """
    removed = (
        select(Box.key, _REMOVED.c.purpose)
        .join(_REMOVED, _REMOVED.c.box_key == Box.key)
        .where(*selection.conditions(), _REMOVED.c.removed_until > span.first)
    )
    rows = (await session.execute(removed)).all()
    if not rows:
        return []
    values = {
        "metrics": list(metrics),
        "purposes": [PURPOSE_BY_METRIC[name] for name in metrics],
        "keys": [key for key, _ in rows],
        "removed": [purpose for _, purpose in rows],
        "after": span.first - _LONGEST_DAY,
        "last": span.last,
    }
    return list(await session.scalars(text(_SUMMARISED.format(rollup)), values))
