"""Reads and writes boxes and their rows in `box_states`.

No query finds a deleted box. The caller decides and commits.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Row,
    Select,
    Text,
    any_,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.database import WriteSession
from app.platform.db.tenant_reader import CompiledStatement, FlatRow, TenantReader, compile_statement
from app.platform.http.contract.fields import check_box_id
from app.platform.http.contract.problems import CodedValueError
from app.platform.http.contract.sorting import PageRequest, SortOrders, instant_sort_key, number_sort_key
from app.platform.http.contract.sorting import name_sort_key as name_key
from app.platform.http.contract.sorting import text_sort_key as text_key
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_filters import (
    BOX_REFUSALS,
    BOX_STATES,
    LATE_SHARE,
    BoxFilter,
    SilenceCriterion,
    join_activity,
    make_box_conditions,
    select_activity,
)
from app.registry.models import Box, Site

# Adds to the ranges that were erased before.
_ADD_ERASED_RANGE: Final = text("""
UPDATE boxes SET erased = erased + tstzmultirange(tstzrange(:first, :last, '[)')) WHERE key = ANY (:keys)
RETURNING (SELECT count(*) FROM unnest(erased))
""")
# `app.timeseries` owns this table, but it is above this room, and each box needs its row from the beginning.
_NEW_STATES: Final = text("INSERT INTO box_states (box_key) SELECT unnest(CAST(:keys AS integer[]))")

BoxRow = Row[Box, int | None, datetime | None, float | None, float | None, str, datetime | None, str | None]
"""A box, the measurement time (µs since the epoch) and arrival of its newest sample, its clock skew (ms), its
share of late samples, its activity, and the time and code of its last refusal. None: nothing came yet."""


BOXES: Final = SortOrders(
    "boxes",
    (text_key(Box.id, read=check_box_id),),
    {
        "id": (),
        "name": (name_key(Box.name, nullable=True),),
        "created_at": (instant_sort_key(Box.created_at),),
        "last_heard_at": (instant_sort_key(BOX_STATES.c.last_sample_at, nullable=True),),
        "battery": (number_sort_key(Box.battery.expression, attrgetter("battery"), nullable=True),),
    },
    "id",
)
# The columns of a box that the API shows.
_SHOWN: Final = (
    *(Box.id, Box.organisation_id, Box.site_id, Box.name, Box.longitude, Box.latitude, Box.interval_s),
    *(Box.ack, Box.kind, Box.tags, Box.attributes, Box.state, Box.state_at, Box.firmware, Box.battery),
    *(Box.rssi, Box.revoked_at, Box.created_at, Box.updated_at),
)


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
) -> Row[int, str, int, str, UUID, datetime | None]:
    """Get the key, id and interval (s) of a box, and its site (NotFoundError).

    Of the site: its time zone, its id, and when the box came there from another one.
    """
    values = {"identifier": parse_box_id(identifier)}
    found = (await session.execute(_sampling_info_query(visible), values)).one_or_none()
    if found is None:
        raise NotFoundError("box", identifier)
    return found


# Cached by tenant scope: building the statement takes as long as executing it.
@lru_cache(64)
def _sampling_info_query(visible: TenantScope) -> Select[int, str, int, str, UUID, datetime | None]:
    statement = select(Box.key, Box.id, Box.interval_s, Site.timezone, Box.site_id, Box.came_at)
    statement = statement.join(Site, Site.id == Box.site_id)
    return _not_deleted(statement, visible).where(Box.id == bindparam("identifier"))


# Those of its state and its newest refusal.
_ACTIVITY_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = (
    *(BOX_STATES.c.newest_us, BOX_STATES.c.last_sample_at, BOX_STATES.c.clock_skew_ms),
    *(LATE_SHARE.label("late_share"), select_activity().label("activity"), BOX_REFUSALS.c.refused_at),
    BOX_REFUSALS.c.code,
)
_LISTED: Final[Select[Any]] = join_activity(select(*_SHOWN, *_ACTIVITY_COLUMNS))


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
    statement: Select[Any] = join_activity(select(Box, *_ACTIVITY_COLUMNS))
    statement = _not_deleted(statement, visible).where(Box.id == parse_box_id(identifier))
    found: BoxRow | None = (await session.execute(statement, silence.values())).one_or_none()
    if found is None:
        raise NotFoundError("box", identifier)
    return found


async def list_boxes(
    reader: TenantReader,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    silence: SilenceCriterion,
    box_filter: BoxFilter,
) -> Sequence[FlatRow]:
    """List boxes: a page and one more row.

    The order by id scans the index on ids and skips rows that do not match. Other orders sort all matching
    rows, at most those of an organisation. Indexes on the compared columns would cost each status and each
    batch more than they save here.

    Args:
        reader: Runs the statement.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        silence: The criterion of a silent box.
        box_filter: The conditions.
    """
    return await reader.fetch(_compile_page(visible, page_request, box_filter), silence.values())


# Lists are polled: a statement that was built before is not built again.
@lru_cache(512)
def _compile_page(
    visible: TenantScope, page_request: PageRequest, box_filter: BoxFilter
) -> CompiledStatement:
    statement = _not_deleted(_LISTED, visible).where(*make_box_conditions(box_filter))
    return compile_statement(BOXES.page(statement, page_request))


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
    heard, refused_at = BOX_STATES.c.last_sample_at.label("heard"), BOX_REFUSALS.c.refused_at
    shown = (heard, refused_at, BOX_REFUSALS.c.code)
    statement = select(Box.site_id, Box.id, Box.name, select_activity().label("activity"), *shown)
    statement = _not_deleted(join_activity(statement), visible)
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
    rows = (await session.execute(union, silence.values())).all()
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
    statement = _not_deleted(join_activity(select(Box)), visible)
    if ids is not None:
        statement = statement.where(Box.id == any_(literal(list(ids), ARRAY(Text))))
    if box_filter is not None:
        statement = statement.where(*make_box_conditions(box_filter))
    return (await session.scalars(statement.order_by(Box.id).limit(most), silence.values())).all()


async def lock_boxes(
    session: WriteSession, keys: Sequence[int | None], visible: TenantScope
) -> Sequence[Box]:
    """Lock boxes until the transaction ends. Returns those that still exist."""
    statement = _not_deleted(select(Box), visible).where(Box.key == any_(literal(list(keys), ARRAY(Integer))))
    return (await session.scalars(statement.order_by(Box.key).with_for_update(key_share=True))).all()


async def lock_site_box_keys(session: WriteSession, site_id: UUID) -> Sequence[int]:
    """Lock the boxes of a site until the transaction ends. Returns their keys, in order."""
    statement = select(Box.key).where(Box.site_id == site_id, Box.deleted_at.is_(None)).order_by(Box.key)
    return (await session.scalars(statement.with_for_update(key_share=True))).all()


async def add_erased_range(
    session: WriteSession, keys: Sequence[int], first: datetime | None, last: datetime
) -> Sequence[int]:
    """Refuse samples of a time range from now on. Returns the number of erased ranges of each box.

    Args:
        session: The transaction.
        keys: The keys of the boxes.
        first: The beginning of the range; None: all earlier data.
        last: The end of the range, excluded.
    """
    values: dict[str, Any] = {"first": first, "last": last, "keys": list(keys)}
    return (await session.scalars(_ADD_ERASED_RANGE, values)).all()


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
