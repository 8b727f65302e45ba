"""Reads and writes boxes and their rows in `box_states`.

No query finds a deleted box. The caller decides and commits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    Row,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    null,
    or_,
    select,
    table,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import check_box_id
from app.platform.http.contract.problems import CodedValueError
from app.platform.http.contract.sorting import PageRequest, SortOrders, instant_sort_key, number_sort_key
from app.platform.http.contract.sorting import name_sort_key as name_key
from app.platform.http.contract.sorting import text_sort_key as text_key
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Site
from app.registry.refusal_counts import NOTED_EVERY_S
from app.registry.repository import contains_ignoring_case

# `app.timeseries` writes this table. Only the columns of a box's activity are read here.
_STATES: Final = table(
    "box_states",
    column("box_key", Integer),
    column("newest_us", BigInteger),
    column("last_sample_at", TIMESTAMP(timezone=True)),
    column("clock_skew_ms", Double),
    column("samples", BigInteger),
    column("late", BigInteger),
)
_REFUSALS: Final = table(
    "box_refusals",
    column("box_key", Integer),
    column("refused_at", TIMESTAMP(timezone=True)),
    column("code", Text),
)
_LATE_SHARE: Final = cast(_STATES.c.late, Double) / func.nullif(_STATES.c.samples, 0)
_NEW_STATES: Final = text("INSERT INTO box_states (box_key) SELECT unnest(CAST(:keys AS integer[]))")

BoxRow = Row[Box, int | None, datetime | None, float | None, float | None, str, datetime | None, str | None]
"""A box, the measurement time (µs since the epoch) and arrival of its newest sample, its clock skew (ms), its
share of late samples, its activity, and the time and code of its last refusal. None: nothing came yet."""


def _of_box(attribute: str) -> Callable[[BoxRow], Any]:
    return lambda row: getattr(row[0], attribute)


BOXES: Final = SortOrders(
    "boxes",
    (text_key(Box.id, _of_box("id"), read=check_box_id),),
    {
        "id": (),
        "name": (name_key(Box.name, _of_box("name"), nullable=True),),
        "created_at": (instant_sort_key(Box.created_at, _of_box("created_at")),),
        "last_heard_at": (instant_sort_key(_STATES.c.last_sample_at, lambda row: row[2], nullable=True),),
        "battery": (number_sort_key(Box.battery.expression, _of_box("battery"), nullable=True),),
    },
    "id",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxFilter:
    """The conditions of a list of boxes. All that are not None must hold.

    Attributes:
        organisation: The organisation.
        site: The site.
        state: `online`, `offline`, or `unknown` for boxes that never reported one.
        search: A part of the id or the name, case-insensitive.
        id_prefix: The beginning of the id.
        silent: Whether the box is silent.
        activity: `active`, `refused` or `silent`.
        firmware: The exact firmware version.
        kind: The kind.
        tags: Tags that the box has all of.
        battery_below: Percent.
        rssi_below: dBm.
        late_share_above: 0 to 1.
        clock_skew_above_ms: Milliseconds, ahead or behind.
    """

    organisation: UUID | None = None
    site: UUID | None = None
    state: str | None = None
    search: str | None = None
    id_prefix: str | None = None
    silent: bool | None = None
    activity: str | None = None
    firmware: str | None = None
    kind: str | None = None
    tags: Sequence[str] | None = None
    battery_below: float | None = None
    rssi_below: float | None = None
    late_share_above: float | None = None
    clock_skew_above_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SilenceCriterion:
    """The criterion of a silent box: no message for `intervals` of its own intervals before `now`.

    A box of which every message in that time was refused is `refused`, not silent. The condition adds
    `NOTED_EVERY_S`: the stored time of the last MQTT sample may lag by that much.
    """

    now: datetime
    intervals: float

    def activity(self) -> ColumnElement[str]:
        """Compute `active`, `refused` or `silent` in SQL, from a box, its state and its newest refusal."""
        timeout = func.make_interval(0, 0, 0, 0, 0, 0, Box.interval_s * self.intervals)
        delay = func.make_interval(0, 0, 0, 0, 0, 0, NOTED_EVERY_S)
        is_refused = and_(
            _REFUSALS.c.refused_at + timeout + delay >= self.now,
            func.coalesce(_STATES.c.last_sample_at + timeout < self.now, true()),
        )
        heard = func.coalesce(_STATES.c.last_sample_at, Box.created_at)
        is_silent = heard + timeout + delay < self.now
        return case((is_refused, literal("refused")), (is_silent, literal("silent")), else_=literal("active"))

    def is_silent(self) -> ColumnElement[bool]:
        """Make the condition on a box, its state and its newest refusal."""
        return self.activity() == "silent"


def parse_box_id(identifier: str) -> str:
    """Check a box id from a path (NotFoundError: no box can have this id)."""
    try:
        return check_box_id(identifier)
    except CodedValueError:
        raise NotFoundError("box", identifier) from None


def _not_deleted[*R](statement: Select[*R], visible: TenantScope) -> Select[*R]:
    statement = statement.where(Box.deleted_at.is_(None))
    return statement.where(*visible.within(Box.organisation_id, Box.site_id))


async def get_box(session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False) -> Box:
    """Get a box.

    Args:
        session: The transaction.
        identifier: The box id, as in the path.
        visible: The caller's tenant scope.
        lock: Lock the row until the transaction ends.

    Raises:
        NotFoundError: The box does not exist, or is outside the tenant scope.
    """
    statement = _not_deleted(select(Box), visible).where(Box.id == parse_box_id(identifier))
    found = await session.scalar(statement.with_for_update(key_share=True) if lock else statement)
    if found is None:
        raise NotFoundError("box", identifier)
    return found


async def get_box_sampling_info(
    session: AsyncSession, identifier: str, visible: TenantScope
) -> Row[int, str, int, str]:
    """Get the key, id and interval (s) of a box, and the time zone of its site (NotFoundError)."""
    values = {"identifier": parse_box_id(identifier)}
    found = (await session.execute(_sampling_info_query(visible), values)).one_or_none()
    if found is None:
        raise NotFoundError("box", identifier)
    return found


# Cached by tenant scope: building the statement takes as long as executing it.
@lru_cache(64)
def _sampling_info_query(visible: TenantScope) -> Select[int, str, int, str]:
    statement = select(Box.key, Box.id, Box.interval_s, Site.timezone).join(Site, Site.id == Box.site_id)
    return _not_deleted(statement, visible).where(Box.id == bindparam("identifier"))


def _rows(
    silence: SilenceCriterion,
) -> Select[Box, int | None, datetime | None, float | None, float | None, str, datetime | None, str | None]:
    states, refusals = _STATES.c, _REFUSALS.c
    columns = (
        *(states.newest_us, states.last_sample_at, states.clock_skew_ms, _LATE_SHARE, silence.activity()),
        *(refusals.refused_at, refusals.code),
    )
    return _with_activity(select(Box, *columns))


def _with_activity[*R](statement: Select[*R]) -> Select[*R]:
    """Join the tables that `SilenceCriterion` reads; without it the condition would multiply the boxes."""
    statement = statement.outerjoin(_STATES, _STATES.c.box_key == Box.key)
    return statement.outerjoin(_REFUSALS, _REFUSALS.c.box_key == Box.key)


async def get_box_row(
    session: AsyncSession, identifier: str, visible: TenantScope, silence: SilenceCriterion
) -> BoxRow:
    """Get a box with its state and activity.

    Args:
        session: The session.
        identifier: The box id, as in the path.
        visible: The caller's tenant scope.
        silence: The criterion of a silent box.

    Raises:
        NotFoundError: The box does not exist, or is outside the tenant scope.
    """
    statement = _not_deleted(_rows(silence), visible).where(Box.id == parse_box_id(identifier))
    found = (await session.execute(statement)).one_or_none()
    if found is None:
        raise NotFoundError("box", identifier)
    return found


async def list_boxes(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    silence: SilenceCriterion,
    box_filter: BoxFilter,
) -> Sequence[BoxRow]:
    """List boxes: a page and one more row.

    The order by id scans the index on ids and skips rows that do not match. Other orders sort all matching
    rows, at most those of an organisation. Indexes on the compared columns would cost each status and each
    batch more than they save here.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        silence: The criterion of a silent box.
        box_filter: The conditions.
    """
    statement = _not_deleted(_rows(silence), visible).where(*_conditions(box_filter, silence))
    return (await session.execute(BOXES.page(statement, page_request))).all()


class BoxCounts(NamedTuple):
    """The numbers of all boxes, of silent boxes and of refused boxes of a site."""

    site_id: UUID
    total: int
    silent: int
    refused: int


class InactiveRow(NamedTuple):
    """A box that is not active.

    `last_heard_at` is None if no sample ever came; `refused_at` and `code` are None if nothing was refused.
    """

    site_id: UUID
    box: str
    name: str | None
    activity: str
    last_heard_at: datetime | None
    refused_at: datetime | None
    code: str | None


async def read_inactive_boxes(
    session: AsyncSession,
    visible: TenantScope,
    silence: SilenceCriterion,
    organisation: UUID | None,
    most: int,
) -> tuple[list[BoxCounts], list[InactiveRow]]:
    """Count boxes by activity and site, and list the silent and the refused ones.

    One statement scans each box once: with ten thousand boxes the scan takes most of the time.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        silence: The criterion of a silent box.
        organisation: Only boxes of this organisation; None: of all in the tenant scope.
        most: The largest number of rows of each list. The newest ones are taken.
    """
    heard, refused_at = _STATES.c.last_sample_at.label("heard"), _REFUSALS.c.refused_at
    shown = (heard, refused_at, _REFUSALS.c.code)
    statement = select(Box.site_id, Box.id, Box.name, silence.activity().label("activity"), *shown)
    statement = _not_deleted(_with_activity(statement), visible)
    if organisation is not None:
        statement = statement.where(Box.organisation_id == organisation)
    # PostgreSQL evaluates a CTE once, though three parts of the statement refer to it.
    seen = statement.cte("seen")
    own = (seen.c.id, seen.c.name, seen.c.activity, seen.c.heard, seen.c.refused_at, seen.c.code)
    counts = select(
        seen.c.site_id,
        func.count().label("total"),
        func.count().filter(seen.c.activity == "silent").label("silent"),
        func.count().filter(seen.c.activity == "refused").label("refused"),
        *(cast(null(), column.type).label(column.name) for column in own),
    ).group_by(seen.c.site_id)

    def newest(activity: str, last: ColumnElement[datetime]) -> Select[Any]:
        listed = select(seen.c.site_id, *[cast(null(), BigInteger)] * 3, *own)
        listed = listed.where(seen.c.activity == activity)
        return listed.order_by(last.desc().nulls_last(), seen.c.id).limit(most).subquery().select()

    union = union_all(counts, newest("silent", seen.c.heard), newest("refused", seen.c.refused_at))
    rows = (await session.execute(union)).all()
    counted = [BoxCounts(*row[:4]) for row in rows if row.id is None]
    return counted, [InactiveRow(row.site_id, *row[4:]) for row in rows if row.id is not None]


async def select_boxes(
    session: AsyncSession,
    visible: TenantScope,
    *,
    ids: Sequence[str] | None,
    box_filter: BoxFilter | None,
    silence: SilenceCriterion,
    most: int,
) -> Sequence[Box]:
    """Select boxes by a list of ids or by a filter, in the order of ids.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        ids: The box ids; None: any.
        box_filter: The conditions; None: none.
        silence: The criterion of a silent box.
        most: The largest number of boxes.
    """
    statement = _not_deleted(_with_activity(select(Box)), visible)
    if ids is not None:
        statement = statement.where(Box.id == any_(literal(list(ids), ARRAY(Text))))
    if box_filter is not None:
        statement = statement.where(*_conditions(box_filter, silence))
    return (await session.scalars(statement.order_by(Box.id).limit(most))).all()


async def lock_boxes(
    session: WriteSession, keys: Sequence[int | None], visible: TenantScope
) -> Sequence[Box]:
    """Lock boxes until the transaction ends. Returns those that still exist."""
    statement = _not_deleted(select(Box), visible).where(Box.key == any_(literal(list(keys), ARRAY(Integer))))
    return (await session.scalars(statement.order_by(Box.key).with_for_update(key_share=True))).all()


def _conditions(box_filter: BoxFilter, silence: SilenceCriterion) -> list[ColumnElement[bool]]:
    skew, late_share = func.abs(_STATES.c.clock_skew_ms), _LATE_SHARE
    # Built only for given values: a column cannot be compared with None.
    comparisons: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
        (box_filter.organisation, lambda value: Box.organisation_id == value),
        (box_filter.site, lambda value: Box.site_id == value),
        (box_filter.id_prefix, lambda value: Box.id.startswith(value, autoescape=True)),
        (box_filter.firmware, lambda value: Box.firmware == value),
        (box_filter.kind, lambda value: Box.kind == value),
        (box_filter.tags, Box.tags.contains),
        (box_filter.battery_below, lambda value: Box.battery < value),
        (box_filter.rssi_below, lambda value: Box.rssi < value),
        (box_filter.late_share_above, lambda value: late_share > value),
        (box_filter.clock_skew_above_ms, lambda value: skew > value),
    )
    conditions = [compare(value) for value, compare in comparisons if value is not None]
    if box_filter.state is not None:
        conditions.append(
            Box.state.is_(None) if box_filter.state == "unknown" else Box.state == box_filter.state
        )
    if box_filter.search is not None:
        conditions.append(
            or_(*(contains_ignoring_case(column, box_filter.search) for column in (Box.id, Box.name)))
        )
    if box_filter.activity is not None:
        conditions.append(silence.activity() == box_filter.activity)
    if box_filter.silent is not None:
        conditions.append(silence.is_silent() if box_filter.silent else ~silence.is_silent())
    return conditions


async def add_boxes(session: WriteSession, rows: Sequence[Mapping[str, Any]]) -> dict[str, Box]:
    """Insert boxes and their rows of state. Returns them by id, without those with a taken id."""
    if not rows:
        return {}
    statement = (
        insert(Box)
        .values([dict(row) for row in rows])
        .on_conflict_do_nothing(index_elements=[Box.id], index_where=Box.deleted_at.is_(None))
        .returning(Box)
    )
    added = {box.id: box for box in await session.scalars(statement)}
    await session.execute(_NEW_STATES, {"keys": [box.key for box in added.values()]})
    return added


async def move_boxes(session: WriteSession, keys: Sequence[int], site_id: UUID, now: datetime) -> None:
    """Move boxes to another site.

    Args:
        session: The transaction.
        keys: The keys of the boxes.
        site_id: The new site.
        now: The time of the change.
    """
    moved = {"site_id": site_id, "updated_at": now}
    await session.execute(update(Box).where(Box.key.in_(keys)).values(moved))


async def mark_boxes_deleted(session: WriteSession, keys: Sequence[int], now: datetime) -> None:
    """Mark boxes as deleted and delete their credentials. The rows stay until their samples are purged."""
    gone = {"deleted_at": now, "updated_at": now, "password_hash": "", "state": None, "state_at": None}
    await session.execute(update(Box).where(Box.key.in_(keys)).values(gone))
