"""Queries on boxes, and on the row of state that each one is made with.

A deleted box is not found by any of them. Nothing is decided here, and nothing committed.
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

# Written by the room above. Of its columns only those that tell how a box lives are read here.
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
"""A box; its newest sample's time (µs since the epoch) and arrival; its clock's skew (ms); the share of its
samples that came late; its activity; when something of it was last refused, and why. None where nothing came
yet."""


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
    """Which boxes a list has: those that fit all that is not None.

    Attributes:
        organisation: of this organisation.
        site: at this site.
        state: `online`, `offline`, or `unknown` for those that never told.
        search: a part of the id or of the name, in any case.
        id_prefix: what the id begins with.
        silent: whether they are silent.
        activity: `active`, `refused` or `silent`.
        firmware: exactly this one.
        kind: of this kind.
        tags: with all of these.
        battery_below: percent.
        rssi_below: dBm.
        late_share_above: 0 to 1.
        clock_skew_above_ms: milliseconds, ahead or behind.
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
    """When a box is silent: nothing came from it for `intervals` of its own intervals before `now`.

    The condition adds `NOTED_EVERY_S`: the stored time of the last MQTT sample may be that old.

    Where all that came meanwhile was refused, it is `refused`, and not silent.
    """

    now: datetime
    intervals: float

    def activity(self) -> ColumnElement[str]:
        """`active`, `refused` or `silent`: of a box, its state and its newest refusal."""
        patience = func.make_interval(0, 0, 0, 0, 0, 0, Box.interval_s * self.intervals)
        delay = func.make_interval(0, 0, 0, 0, 0, 0, NOTED_EVERY_S)
        is_refused = and_(
            _REFUSALS.c.refused_at + patience + delay >= self.now,
            func.coalesce(_STATES.c.last_sample_at + patience < self.now, true()),
        )
        heard = func.coalesce(_STATES.c.last_sample_at, Box.created_at)
        # The stored arrival time may lag by this delay.
        is_silent = heard + patience + delay < self.now
        return case((is_refused, literal("refused")), (is_silent, literal("silent")), else_=literal("active"))

    def holds(self) -> ColumnElement[bool]:
        """The condition on a box, its state and its newest refusal."""
        return self.activity() == "silent"


def parse_box_id(identifier: str) -> str:
    """Check a box's id from a path: what cannot be one does not exist (NotFoundError)."""
    try:
        return check_box_id(identifier)
    except CodedValueError:
        raise NotFoundError("box", identifier) from None


def _living[*R](statement: Select[*R], visible: TenantScope) -> Select[*R]:
    statement = statement.where(Box.deleted_at.is_(None))
    return statement.where(*visible.within(Box.organisation_id, Box.site_id))


async def get_box(session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False) -> Box:
    """One box (NotFoundError). With `lock` nobody else can change it until the transaction ends."""
    statement = _living(select(Box), visible).where(Box.id == parse_box_id(identifier))
    found = await session.scalar(statement.with_for_update(key_share=True) if lock else statement)
    if found is None:
        raise NotFoundError("box", identifier)
    return found


async def get_box_sampling_info(
    session: AsyncSession, identifier: str, visible: TenantScope
) -> Row[int, str, int, str]:
    """A box's key, id, interval (s) and its site's time zone (NotFoundError)."""
    values = {"identifier": parse_box_id(identifier)}
    found = (await session.execute(_measuring(visible), values)).one_or_none()
    if found is None:
        raise NotFoundError("box", identifier)
    return found


# Made once of each reach: making it takes as long as asking it.
@lru_cache(64)
def _measuring(visible: TenantScope) -> Select[int, str, int, str]:
    statement = select(Box.key, Box.id, Box.interval_s, Site.timezone).join(Site, Site.id == Box.site_id)
    return _living(statement, visible).where(Box.id == bindparam("identifier"))


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
    """Join what `SilenceCriterion` reads; without the join, its condition would multiply the boxes."""
    statement = statement.outerjoin(_STATES, _STATES.c.box_key == Box.key)
    return statement.outerjoin(_REFUSALS, _REFUSALS.c.box_key == Box.key)


async def get_box_row(
    session: AsyncSession, identifier: str, visible: TenantScope, silence: SilenceCriterion
) -> BoxRow:
    """One box and how it lives (NotFoundError)."""
    statement = _living(_rows(silence), visible).where(Box.id == parse_box_id(identifier))
    found = (await session.execute(statement)).one_or_none()
    if found is None:
        raise NotFoundError("box", identifier)
    return found


async def list_boxes(
    session: AsyncSession,
    visible: TenantScope,
    asked: PageRequest,
    *,
    silence: SilenceCriterion,
    wanted: BoxFilter,
) -> Sequence[BoxRow]:
    """Boxes, one more than are asked for.

    By id the index on the ids is walked, and what does not fit is passed over; in other orders all that fit
    are sorted, which are an organisation's at most. Indexes on what is compared would cost every status and
    every batch more than they spare a list.
    """
    statement = _living(_rows(silence), visible).where(*_conditions(wanted, silence))
    return (await session.execute(BOXES.page(statement, asked))).all()


class BoxCounts(NamedTuple):
    """How many boxes a site has, how many of them are silent, and of how many all is refused."""

    site_id: UUID
    total: int
    silent: int
    refused: int


class InactiveRow(NamedTuple):
    """A box that is not active.

    `last_heard_at` is None where no sample ever came, `refused_at` and `code` where nothing was refused.
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
    """Count boxes by activity, site by site, and list silent and refused ones.

    One statement looks at each box once: of ten thousand that takes most of the time.

    Args:
        session: For the query.
        visible: What the caller may see.
        silence: When a box is silent, and when refused.
        organisation: Only of this organisation; None: of all that are visible.
        most: How many of each are listed: those that were heard last, and those that were refused last.
    """
    heard, refused_at = _STATES.c.last_sample_at.label("heard"), _REFUSALS.c.refused_at
    shown = (heard, refused_at, _REFUSALS.c.code)
    statement = select(Box.site_id, Box.id, Box.name, silence.activity().label("activity"), *shown)
    statement = _living(_with_activity(statement), visible)
    if organisation is not None:
        statement = statement.where(Box.organisation_id == organisation)
    # It is referred to several times: PostgreSQL reads it once.
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
    wanted: BoxFilter | None,
    silence: SilenceCriterion,
    most: int,
) -> Sequence[Box]:
    """Boxes of a list of ids, or that fit a filter; by id, as many as `most`."""
    statement = _living(_with_activity(select(Box)), visible)
    if ids is not None:
        statement = statement.where(Box.id == any_(literal(list(ids), ARRAY(Text))))
    if wanted is not None:
        statement = statement.where(*_conditions(wanted, silence))
    return (await session.scalars(statement.order_by(Box.id).limit(most))).all()


async def lock_boxes(
    session: WriteSession, keys: Sequence[int | None], visible: TenantScope
) -> Sequence[Box]:
    """Those of the boxes that are still there; nobody else can change them until the transaction ends."""
    statement = _living(select(Box), visible).where(Box.key == any_(literal(list(keys), ARRAY(Integer))))
    return (await session.scalars(statement.order_by(Box.key).with_for_update(key_share=True))).all()


def _conditions(wanted: BoxFilter, silence: SilenceCriterion) -> list[ColumnElement[bool]]:
    skew, late_share = func.abs(_STATES.c.clock_skew_ms), _LATE_SHARE
    # Made only for a value that is given: a column cannot be compared with None.
    comparisons: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
        (wanted.organisation, lambda value: Box.organisation_id == value),
        (wanted.site, lambda value: Box.site_id == value),
        (wanted.id_prefix, lambda value: Box.id.startswith(value, autoescape=True)),
        (wanted.firmware, lambda value: Box.firmware == value),
        (wanted.kind, lambda value: Box.kind == value),
        (wanted.tags, Box.tags.contains),
        (wanted.battery_below, lambda value: Box.battery < value),
        (wanted.rssi_below, lambda value: Box.rssi < value),
        (wanted.late_share_above, lambda value: late_share > value),
        (wanted.clock_skew_above_ms, lambda value: skew > value),
    )
    conditions = [compare(value) for value, compare in comparisons if value is not None]
    if wanted.state is not None:
        conditions.append(Box.state.is_(None) if wanted.state == "unknown" else Box.state == wanted.state)
    if wanted.search is not None:
        conditions.append(
            or_(*(contains_ignoring_case(column, wanted.search) for column in (Box.id, Box.name)))
        )
    if wanted.activity is not None:
        conditions.append(silence.activity() == wanted.activity)
    if wanted.silent is not None:
        conditions.append(silence.holds() if wanted.silent else ~silence.holds())
    return conditions


async def add_boxes(session: WriteSession, rows: Sequence[Mapping[str, Any]]) -> dict[str, Box]:
    """Insert boxes with their rows of state. Ids that are taken are left out of the answer, by id."""
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
    """Put boxes at another site."""
    moved = {"site_id": site_id, "updated_at": now}
    await session.execute(update(Box).where(Box.key.in_(keys)).values(moved))


async def mark_boxes_deleted(session: WriteSession, keys: Sequence[int], now: datetime) -> None:
    """Delete boxes and their credentials, but not their rows."""
    gone = {"deleted_at": now, "updated_at": now, "password_hash": "", "state": None, "state_at": None}
    await session.execute(update(Box).where(Box.key.in_(keys)).values(gone))
