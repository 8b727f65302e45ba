"""Reads and changes alerts for the API, within the caller's tenant scope.

Several alerts are locked in the order of their ids, to avoid deadlocks. The transition recorder writes
changes that samples cause.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from app.alerts.models import Alert, TimelineEntry
from app.alerts.muting_queries import SILENCED_CONDITION
from app.platform.db.database import ReadSession, WriteSession
from app.platform.db.tenant_reader import CompiledStatement, compile_statement
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    number_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import EMPTY_SCOPE, TenantScope
from app.registry.models import Box, Site
from app.rules.definitions.models import IndexState, Rule
from app.rules.definitions.severity import SEVERITIES, rank_severity
from app.sound_incidents.incidents_of_events import belongs_to_incident
from app.timeseries.storage.models import BoxState, SiteState


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """A filter of alerts; None does not filter.

    Attributes:
        visible: the tenant scope of the caller.
        state: firing or resolved.
        site_id: of this site.
        box: of the boxes with this id, including deleted ones.
        rule_id: of this rule.
        severity: info, warning or critical.
        min_severity: of at least this severity.
        min_highest_severity: of at least this severity at some time.
        metric: the deciding part of the condition uses this metric.
        tag: of boxes that have this tag now.
        acknowledged: acknowledged, or not.
        assignee: assigned to this one.
        suppressed: muted, or not.
        dry_run: of dry-run rules, or of the others.
        start: started at this time or later.
        end: started before this time.
        silence_id: muted by this silence now.
        organisation_id: of this organisation.
        incident_id: on a sound event of this incident.
    """

    visible: TenantScope = EMPTY_SCOPE
    state: str | None = None
    site_id: UUID | None = None
    box: str | None = None
    rule_id: UUID | None = None
    severity: str | None = None
    min_severity: str | None = None
    min_highest_severity: str | None = None
    metric: str | None = None
    tag: str | None = None
    acknowledged: bool | None = None
    assignee: str | None = None
    suppressed: bool | None = None
    dry_run: bool = False
    start: datetime | None = None
    end: datetime | None = None
    silence_id: UUID | None = None
    organisation_id: UUID | None = None
    incident_id: UUID | None = None


AlertWithRuleName = tuple[Alert, str]
"""An alert and the name of its rule."""


# The same expression as in the index of migration 0018.
_RANK = literal_column("CASE alerts.severity WHEN 'info' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END", Integer)
ALERTS: Final = SortOrders(
    "alerts",
    (uuid_sort_key(Alert.id),),
    {
        "id": (),
        "started_at": (instant_sort_key(Alert.started_at),),
        "severity": (number_sort_key(_RANK, lambda row: rank_severity(row.severity)),),
    },
    "-id",
)
SILENCED: Final = replace(ALERTS, kind="silence_alerts")
TIMELINE: Final = SortOrders(
    "alert_timeline",
    (number_sort_key(TimelineEntry.position.expression, attrgetter("position")),),
    {"recorded_at": ()},
    "recorded_at",
)


def _select_visible(visible: TenantScope) -> Select[Alert, str]:
    query = select(Alert, Rule.name).join(Rule, Rule.id == Alert.rule_id)
    return query.where(*visible.within(Alert.organisation_id, Alert.site_id))


def _conditions(filter_: AlertFilter) -> Iterator[ColumnElement[bool]]:
    yield Alert.dry_run == filter_.dry_run
    equal = (
        (Alert.state, filter_.state),
        (Alert.organisation_id, filter_.organisation_id),
        (Alert.site_id, filter_.site_id),
        (Alert.rule_id, filter_.rule_id),
        (Alert.severity, filter_.severity),
        (Alert.metric, filter_.metric),
        (Alert.assignee, filter_.assignee),
    )
    for column, value in equal:
        if value is not None:
            yield column == value
    for value, boxes in (
        (filter_.box, Box.id == filter_.box),
        (filter_.tag, Box.tags.contains([filter_.tag])),
    ):
        if value is not None:
            yield Alert.box_key.in_(select(Box.key).where(boxes))
    for column, least in (
        (Alert.severity, filter_.min_severity),
        (Alert.highest_severity, filter_.min_highest_severity),
    ):
        if least is not None:
            yield column.in_(SEVERITIES[rank_severity(least) :])
    for nullable, is_set in (
        (Alert.acknowledged_at, filter_.acknowledged),
        (Alert.suppressed, filter_.suppressed),
    ):
        if is_set is not None:
            yield nullable.is_not(None) if is_set else nullable.is_(None)


def _events(filter_: AlertFilter) -> Iterator[ColumnElement[bool]]:
    if filter_.incident_id is not None:
        heard_at = cast(Alert.cause["event"]["time"].astext, TIMESTAMP(timezone=True))
        yield belongs_to_incident(filter_.incident_id, Alert.box_key.expression, heard_at)


def _range(filter_: AlertFilter) -> Iterator[ColumnElement[bool]]:
    if filter_.start is not None:
        yield Alert.started_at >= filter_.start
    if filter_.end is not None:
        yield Alert.started_at < filter_.end


def select_listed() -> Select[*tuple[Any, ...]]:
    """Return the query of alerts with the columns of `compile_alert_page`."""
    some = select(Box.key).where(Box.site_id == Alert.site_id, Box.deleted_at.is_(None)).limit(2)
    statement = select(
        *Alert.__table__.columns,
        Rule.name.label("rule_name"),
        Rule.definition.label("rule_definition"),
        Site.name.label("site_name"),
        Box.name.label("box_name"),
        select(func.count())
        .select_from(some.correlate(Alert).subquery())
        .scalar_subquery()
        .label("site_boxes"),
        # Identify the versions of the two rows.
        literal_column("alerts.xmin").label("alert_version"),
        literal_column("rules.xmin").label("rule_row_version"),
    )
    statement = statement.join(Rule, Rule.id == Alert.rule_id).outerjoin(Site, Site.id == Alert.site_id)
    return statement.outerjoin(Box, Box.key == Alert.box_key)


_LISTED: Final = select_listed()
LISTED_BY_IDS: Final = compile_statement(
    _LISTED.where(Alert.id == any_(bindparam("alert_ids", type_=ARRAY(Uuid))))
)
"""The query of the alerts `alert_ids`, in any order, with the columns of `compile_alert_page`."""


# Lists are polled: a statement that was built before is not built again.
@lru_cache(512)
def compile_alert_page(
    filter_: AlertFilter, page: PageRequest, orders: SortOrders = ALERTS
) -> CompiledStatement:
    """Compile the query of a page of alerts with the current names of their rules, sites and boxes.

    The columns are those of `Alert`, with `rule_name`, `rule_definition`, `site_name`, `box_name`,
    `site_boxes` (2 if there are more), `alert_version` and `rule_row_version`.

    Args:
        filter_: which alerts.
        page: limit, order and cursor.
        orders: the sort orders of the list.
    """
    visible = filter_.visible.within(Alert.organisation_id, Alert.site_id)
    statement = _LISTED.where(*visible, *_conditions(filter_), *_events(filter_), *_range(filter_))
    if filter_.silence_id is not None:
        statement = statement.where(text(SILENCED_CONDITION).bindparams(silence=filter_.silence_id))
    return compile_statement(orders.page(statement, page))


async def find_alert(
    session: ReadSession | WriteSession, alert_id: UUID, visible: TenantScope
) -> AlertWithRuleName:
    """Read an alert. NotFoundError outside of the tenant scope."""
    row = (await session.execute(_select_visible(visible).where(Alert.id == alert_id))).one_or_none()
    if row is None:
        raise NotFoundError("alert", alert_id)
    return row[0], row[1]


async def lock_alert(session: WriteSession, alert_id: UUID, visible: TenantScope) -> AlertWithRuleName:
    """Read and lock an alert, to change it. NotFoundError outside of the tenant scope."""
    query = _select_visible(visible).where(Alert.id == alert_id).with_for_update(of=Alert)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFoundError("alert", alert_id)
    return row[0], row[1]


async def lock_alerts(
    session: WriteSession, alert_ids: Sequence[UUID], visible: TenantScope
) -> dict[UUID, AlertWithRuleName]:
    """Read and lock alerts, to change them. Those outside of the tenant scope are left out."""
    query = (
        _select_visible(visible).where(Alert.id.in_(alert_ids)).order_by(Alert.id).with_for_update(of=Alert)
    )
    return {alert.id: (alert, name) for alert, name in await session.execute(query)}


async def read_database_clock(session: WriteSession) -> datetime:
    """Read the database's clock, which due times refer to."""
    return (await session.execute(select(func.now()))).scalar_one()


async def list_timeline_entries(
    session: ReadSession, alert_id: UUID, page: PageRequest
) -> Sequence[TimelineEntry]:
    """Read a page of an alert's timeline, and one entry more if there is a next page."""
    query = select(TimelineEntry).where(TimelineEntry.alert_id == alert_id)
    return (await session.scalars(TIMELINE.page(query, page))).all()


class LockedStates(NamedTuple):
    """The boxes (by key) and sites with locked states."""

    boxes: list[int]
    sites: list[UUID]


async def lock_states(
    session: WriteSession, rule_id: UUID | None, box_keys: Sequence[int] | None
) -> LockedStates:
    """Lock the states of boxes, or of all boxes and the site that a rule applies to.

    Boxes are locked in the order of their keys, then the site.
    """
    concerned: ColumnElement[bool]
    if box_keys is not None:
        concerned = BoxState.box_key.in_(box_keys)
    else:
        site = select(Rule.site_id).where(Rule.id == rule_id).scalar_subquery()
        concerned = or_(
            BoxState.box_key.in_(select(Box.key).where(Box.site_id == site)),
            BoxState.box_key.in_(
                select(Alert.box_key).where(Alert.rule_id == rule_id, Alert.state == "firing")
            ),
        )
    query = select(BoxState.box_key).where(concerned).order_by(BoxState.box_key).with_for_update()
    boxes = list((await session.scalars(query)).all())
    if box_keys is not None:
        # The state of a rule on a whole site remains, without these boxes.
        return LockedStates(boxes, [])
    whole = select(SiteState.site_id).where(SiteState.site_id == site).with_for_update()
    return LockedStates(boxes, list((await session.scalars(whole)).all()))


async def resolve_alerts(
    session: WriteSession, rule_id: UUID | None, box_keys: Sequence[int] | None, *, reason: str, now: datetime
) -> list[AlertWithRuleName]:
    """Resolve the firing alerts of a rule, of boxes, or of a rule on boxes; returns the changed alerts.

    Args:
        session: the transaction.
        rule_id: the rule; None for all rules.
        box_keys: the boxes; None for all boxes.
        reason: the resolution.
        now: the current time, aware.
    """
    concerned = (
        Alert.state == "firing",
        true() if rule_id is None else Alert.rule_id == rule_id,
        true() if box_keys is None else Alert.box_key.in_(box_keys),
    )
    await session.execute(select(Alert.id).where(*concerned).order_by(Alert.id).with_for_update())
    changed = (
        update(Alert)
        .where(*concerned)
        .values(
            state="resolved",
            # A box's clock may be ahead: an alert must not end before its start.
            resolved_at=func.greatest(now, Alert.started_at),
            resolution=reason,
            escalate_at=None,
            remind_at=None,
            sequence=Alert.sequence + 1,
            updated_at=now,
        )
        .returning(Alert)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    alerts = (await session.scalars(changed)).all()
    rule_ids = {alert.rule_id for alert in alerts}
    rows = await session.execute(select(Rule.id, Rule.name).where(Rule.id.in_(rule_ids)))
    names = {identifier: name for identifier, name in rows}  # noqa: C416 (dict() does not take rows as pairs)
    return [(alert, names[alert.rule_id]) for alert in sorted(alerts, key=lambda alert: alert.id)]


async def delete_index_states(
    session: WriteSession, rule_id: UUID | None, box_keys: Sequence[int] | None
) -> None:
    """Reset the states of a rule on indices, or of all such rules on some boxes.

    The ingest barrier must be closed.
    """
    concerned = (
        true() if rule_id is None else IndexState.rule_id == rule_id,
        true() if box_keys is None else IndexState.box_key.in_(box_keys),
    )
    await session.execute(delete(IndexState).where(*concerned).execution_options(synchronize_session=False))


async def clear_rule_states(session: WriteSession, locked: LockedStates, rule_id: UUID | None) -> None:
    """Reset the state of a rule, or of all rules, for locked boxes and sites."""
    tables = (
        (BoxState, BoxState.box_key == any_(literal(locked.boxes, ARRAY(Integer)))),
        (SiteState, SiteState.site_id == any_(literal(locked.sites, ARRAY(Uuid)))),
    )
    empty: dict[str, Any] = {}
    for table, chosen in tables:
        if rule_id is None:
            statement = update(table).where(chosen, table.rules != empty).values(rules=empty)
        else:
            key = str(rule_id)
            without = table.rules.op("-", return_type=JSONB())(literal(key, Text))
            statement = update(table).where(chosen, table.rules.has_key(key)).values(rules=without)
        await session.execute(statement.execution_options(synchronize_session=False))
