"""Which boxes an export is of, which metrics these have, and where in the file something stands.

Rows stand in the order of (box's id, time); ids are compared byte by byte, whatever the database's language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, collate, func, literal, select
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.metrics import COLUMNS, METRICS_BY_NAME
from app.platform.http.contract.fields import check_box_id
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.instants import check_range, parse_rfc3339, to_datetime
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Site
from app.timeseries.series.latest_queries import read_newer_samples
from app.timeseries.storage.box_states import NEVER
from app.timeseries.storage.models import BoxState

MAX_NAMED_BOXES: Final = 100
"""Boxes that are named at once: more make an address that is too long. Sites may have any number."""

_box_id: Final = collate(Box.id, "C")
_MICROSECOND: Final = timedelta(microseconds=1)
# Boxes of whose latest values the names are looked at together.
_AT_ONCE: Final = 1_000


class RowPosition(NamedTuple):
    """A row's place in the order.

    Attributes:
        box: its box's id.
        time: when it was measured; None: behind all rows of the box.
    """

    box: str
    time: datetime | None

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `<box>,<time>` as a client gives it (InvalidError `invalid_position`)."""
        box, _, time = text.rpartition(",")
        try:
            check_box_id(box)
            time_us = parse_rfc3339(time)
            check_range(time_us)
            return cls(box, to_datetime(time_us))
        except (CodedValueError, RejectedError) as error:
            raise InvalidError(
                f"{format_rejected_value(text)} is not a box's id, a comma, and the time of a row, as the "
                f"file has them.",
                code="invalid_position",
            ) from error


@dataclass(frozen=True, slots=True)
class ExportSelection:
    """The boxes that an export is of.

    Attributes:
        visible: what the caller reaches.
        sites: at one of these; empty: at any.
        boxes: one of these; empty: any.
    """

    visible: TenantScope
    sites: tuple[UUID, ...] = ()
    boxes: tuple[str, ...] = ()

    def conditions(self) -> list[ColumnElement[bool]]:
        """Those of a query on boxes."""
        found = [Box.deleted_at.is_(None), *self.visible.within(Box.organisation_id, Box.site_id)]
        if self.sites:
            found.append(Box.site_id.in_(self.sites))
        if self.boxes:
            found.append(Box.id.in_(self.boxes))
        return found

    def page(
        self, span: "ExportSpan", start: RowPosition | None, boxes: int, end: datetime | None = None
    ) -> Select[*tuple[Any, ...]]:
        """The next boxes in order, with `since` and `before`: between which their rows lie.

        Args:
            span: all that is exported.
            start: the first row that is wanted; None: the first of the span.
            boxes: how many at most.
            end: of the box of `start` alone, only what is before this.
        """
        since: ColumnElement[datetime] = literal(span.first, TIMESTAMP(timezone=True))
        before: ColumnElement[datetime] = literal(span.last, TIMESTAMP(timezone=True))
        conditions = self.conditions()
        if start is not None:
            after_box = start.time is None
            conditions.append(_box_id > start.box if after_box else _box_id >= start.box)
            since = case((_box_id == start.box, literal(start.time, TIMESTAMP(timezone=True))), else_=since)
        if end is not None and start is not None:
            conditions.append(_box_id == start.box)
            before = literal(end, TIMESTAMP(timezone=True))
        if span.until is not None:
            conditions.append(_box_id <= span.until.box)
        if span.until is not None and span.until.time is not None:
            last = literal(span.until.time + _MICROSECOND, TIMESTAMP(timezone=True))
            before = case((_box_id == span.until.box, func.least(last, before)), else_=before)
        # A box has both, or neither.
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
            )
            .join(Site, Site.id == Box.site_id)
            .where(*conditions)
            .order_by(_box_id)
            .limit(boxes)
        )


@dataclass(frozen=True, slots=True)
class ExportSpan:
    """What is exported of the boxes.

    Attributes:
        first: the beginning, included.
        last: the end, excluded.
        start: the first row's place; None: all from the beginning.
        until: the last row's place, included; None: all to the end.
    """

    first: datetime
    last: datetime
    start: RowPosition | None = None
    until: RowPosition | None = None


def advance_position(position: RowPosition) -> RowPosition:
    """The first place behind a row."""
    return position if position.time is None else RowPosition(position.box, position.time + _MICROSECOND)


async def check_selection_exists(session: AsyncSession, selection: ExportSelection) -> None:
    """See that all sites and boxes that are named are there.

    Raises:
        InvalidError: `too_many_boxes`.
        NotFoundError: one of them is not, or is not the caller's.
    """
    visible = selection.visible
    if len(selection.boxes) > MAX_NAMED_BOXES:
        raise InvalidError(
            f"At most {MAX_NAMED_BOXES} boxes can be named at once: name their sites, or export in parts.",
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
    """Whose the boxes are."""
    query = select(Box.organisation_id).distinct().where(*selection.conditions())
    return (await session.scalars(query.order_by(Box.organisation_id))).all()


async def find_shortest_interval(session: AsyncSession, selection: ExportSelection) -> int:
    """How often the box samples that does so most often (s); one second where there is none."""
    return await session.scalar(select(func.min(Box.interval_s)).where(*selection.conditions())) or 1


async def find_measured_metrics(session: AsyncSession, selection: ExportSelection) -> list[str]:
    """All metrics that the boxes ever sent, of those in the catalogue.

    The span itself, which may be long, is not looked through: what a box sent is known of its latest values.
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
