"""Defines the filters of lists of boxes: conditions on columns, and the criterion of a silent box."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    or_,
    table,
    true,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.registry.firmware_versions import is_at_least, is_below, select_is_comparable
from app.registry.models import Box
from app.registry.organisation_repository import contains_ignoring_case
from app.registry.privacy_refusal_counts import NOTED_EVERY_S

# `app.timeseries` writes this table. Only the columns of a box's activity are read here.
BOX_STATES: Final = table(
    "box_states",
    column("box_key", Integer),
    column("newest_us", BigInteger),
    column("last_sample_at", TIMESTAMP(timezone=True)),
    column("clock_skew_ms", Double),
    column("samples", BigInteger),
    column("late", BigInteger),
)
BOX_REFUSALS: Final = table(
    "box_refusals",
    column("box_key", Integer),
    column("refused_at", TIMESTAMP(timezone=True)),
    column("code", Text),
)
LATE_SHARE: Final = cast(BOX_STATES.c.late, Double) / func.nullif(BOX_STATES.c.samples, 0)


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
        firmware_from: The lowest firmware version (`app.registry.firmware_versions`).
        firmware_below: The first firmware version that is excluded.
        firmware_comparable: Whether the reported firmware can be compared.
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
    firmware_from: str | None = None
    firmware_below: str | None = None
    firmware_comparable: bool | None = None
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

    def values(self) -> dict[str, Any]:
        """Return the values of the parameters of `select_activity`."""
        return {"silence_now": self.now, "silence_intervals": self.intervals}


def _seconds(seconds: Any) -> ColumnElement[Any]:  # noqa: ANN401 (a number, or SQL of one)
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _make_silence() -> tuple[ColumnElement[Any], ColumnElement[Any], ColumnElement[datetime]]:
    """Make SQL of how long a box may send nothing, of the delay of stored times, and of its last message."""
    intervals = bindparam("silence_intervals", type_=Double)
    heard = func.coalesce(BOX_STATES.c.last_sample_at, Box.created_at)
    return _seconds(Box.interval_s * intervals), _seconds(NOTED_EVERY_S), heard


def select_silence_start() -> ColumnElement[datetime]:
    """Return SQL of the time at which a box becomes silent if it sends nothing more.

    For statements with `join_activity`; they need the values of a `SilenceCriterion`.
    """
    timeout, delay, heard = _make_silence()
    return heard + timeout + delay


def _make_activity() -> ColumnElement[str]:
    now = bindparam("silence_now", type_=TIMESTAMP(timezone=True))
    timeout, delay, heard = _make_silence()
    is_refused = and_(
        BOX_REFUSALS.c.refused_at + timeout + delay >= now,
        func.coalesce(BOX_STATES.c.last_sample_at + timeout < now, true()),
    )
    is_silent = heard + timeout + delay < now
    return case((is_refused, literal("refused")), (is_silent, literal("silent")), else_=literal("active"))


# Built once: that takes longer than the query of a page.
_ACTIVITY: Final = _make_activity()


def select_activity() -> ColumnElement[str]:
    """Return SQL of `active`, `refused` or `silent`, of a box, its state and its newest refusal.

    For statements with `join_activity`; they need the values of a `SilenceCriterion`.
    """
    return _ACTIVITY


def join_activity[*R](statement: Select[*R]) -> Select[*R]:
    """Join the tables that `SilenceCriterion` reads; without it the condition would multiply the boxes."""
    statement = statement.outerjoin(BOX_STATES, BOX_STATES.c.box_key == Box.key)
    return statement.outerjoin(BOX_REFUSALS, BOX_REFUSALS.c.box_key == Box.key)


def make_box_conditions(box_filter: BoxFilter) -> list[ColumnElement[bool]]:
    """Make the SQL conditions of a filter, for a statement with `join_activity`."""
    skew, late_share = func.abs(BOX_STATES.c.clock_skew_ms), LATE_SHARE
    # Built only for given values: a column cannot be compared with None.
    comparisons: tuple[tuple[Any, Callable[[Any], ColumnElement[bool]]], ...] = (
        (box_filter.organisation, lambda value: Box.organisation_id == value),
        (box_filter.site, lambda value: Box.site_id == value),
        (box_filter.id_prefix, lambda value: Box.id.startswith(value, autoescape=True)),
        (box_filter.firmware, lambda value: Box.firmware == value),
        (box_filter.firmware_from, is_at_least),
        (box_filter.firmware_below, is_below),
        (box_filter.firmware_comparable, lambda value: select_is_comparable() == value),
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
        conditions.append(select_activity() == box_filter.activity)
    if box_filter.silent is not None:
        is_silent = select_activity() == "silent"
        conditions.append(is_silent if box_filter.silent else ~is_silent)
    return conditions
