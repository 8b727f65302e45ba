"""Queries on alerts made by the API. Must not write what samples cause: that is the recorder's.

Whoever locks several alerts does so in the order of their ids.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
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
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.alerts.models import Alert, TimelineEntry
from app.alerts.muting_queries import SILENCED_CONDITION
from app.platform.db.database import ReadSession, WriteSession
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    number_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import EMPTY_SCOPE, TenantScope
from app.registry.models import Box
from app.rules.definitions.models import IndexState, Rule
from app.rules.definitions.severity import SEVERITIES, rank_severity
from app.timeseries.storage.models import BoxState, SiteState


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts a list shows; None leaves a side open.

    Attributes:
        visible: only what the caller may see.
        state: firing or resolved.
        site_id: only of this site.
        box: only of the boxes with this id, those of the past too.
        rule_id: only of this rule.
        severity: info, warning or critical.
        min_severity: at least this one.
        min_highest_severity: the highest that it had is at least this one.
        metric: the deciding part of the condition looks at this one.
        tag: only of boxes that have this tag now.
        acknowledged: only those that somebody sees to, or that nobody does.
        assignee: only this one's.
        suppressed: only those that are muted, or that are not.
        dry_run: those of rules on trial, or the others.
        start: only those that started at this time or later.
        end: only those that started before this time.
        silence_id: only those that this silence mutes now.
        organisation_id: only of this organisation.
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


AlertWithRuleName = tuple[Alert, str]
"""An alert and the name of its rule."""


def _of_alert(attribute: str) -> Callable[[AlertWithRuleName], Any]:
    return lambda row: getattr(row[0], attribute)


# As the index on it has it (migration 0018).
_RANK = literal_column("CASE alerts.severity WHEN 'info' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END", Integer)
ALERTS: Final = SortOrders(
    "alerts",
    (uuid_sort_key(Alert.id, _of_alert("id")),),
    {
        "id": (),
        "started_at": (instant_sort_key(Alert.started_at, _of_alert("started_at")),),
        "severity": (number_sort_key(_RANK, lambda row: rank_severity(row[0].severity)),),
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


def _shown(visible: TenantScope) -> Select[Alert, str]:
    query = select(Alert, Rule.name).join(Rule, Rule.id == Alert.rule_id)
    return query.where(*visible.within(Alert.organisation_id, Alert.site_id))


def _conditions(wanted: AlertFilter) -> Iterator[ColumnElement[bool]]:
    yield Alert.dry_run == wanted.dry_run
    equal = (
        (Alert.state, wanted.state),
        (Alert.organisation_id, wanted.organisation_id),
        (Alert.site_id, wanted.site_id),
        (Alert.rule_id, wanted.rule_id),
        (Alert.severity, wanted.severity),
        (Alert.metric, wanted.metric),
        (Alert.assignee, wanted.assignee),
    )
    for column, value in equal:
        if value is not None:
            yield column == value
    for value, boxes in ((wanted.box, Box.id == wanted.box), (wanted.tag, Box.tags.contains([wanted.tag]))):
        if value is not None:
            yield Alert.box_key.in_(select(Box.key).where(boxes))
    for column, least in (
        (Alert.severity, wanted.min_severity),
        (Alert.highest_severity, wanted.min_highest_severity),
    ):
        if least is not None:
            yield column.in_(SEVERITIES[rank_severity(least) :])
    for filled, there in (
        (Alert.acknowledged_at, wanted.acknowledged),
        (Alert.suppressed, wanted.suppressed),
    ):
        if there is not None:
            yield filled.is_not(None) if there else filled.is_(None)


def _range(wanted: AlertFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.start is not None:
        yield Alert.started_at >= wanted.start
    if wanted.end is not None:
        yield Alert.started_at < wanted.end


async def list_alerts(
    session: ReadSession, wanted: AlertFilter, asked: PageRequest, orders: SortOrders = ALERTS
) -> Sequence[AlertWithRuleName]:
    """Read a page of alerts, and one more."""
    query = _shown(wanted.visible).where(*_conditions(wanted), *_range(wanted))
    if wanted.silence_id is not None:
        query = query.where(text(SILENCED_CONDITION).bindparams(silence=wanted.silence_id))
    rows = await session.execute(orders.page(query, asked))
    return [(alert, name) for alert, name in rows]


async def find_alert(
    session: ReadSession | WriteSession, alert_id: UUID, visible: TenantScope
) -> AlertWithRuleName:
    """Read an alert. NotFoundError for another organisation's."""
    row = (await session.execute(_shown(visible).where(Alert.id == alert_id))).one_or_none()
    if row is None:
        raise NotFoundError("alert", alert_id)
    return row[0], row[1]


async def lock_alert(session: WriteSession, alert_id: UUID, visible: TenantScope) -> AlertWithRuleName:
    """Read an alert to change it. NotFoundError for another organisation's."""
    query = _shown(visible).where(Alert.id == alert_id).with_for_update(of=Alert)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFoundError("alert", alert_id)
    return row[0], row[1]


async def lock_alerts(
    session: WriteSession, alert_ids: Sequence[UUID], visible: TenantScope
) -> dict[UUID, AlertWithRuleName]:
    """Read alerts to change them; those that are not there, or another organisation's, are left out."""
    query = _shown(visible).where(Alert.id.in_(alert_ids)).order_by(Alert.id).with_for_update(of=Alert)
    return {alert.id: (alert, name) for alert, name in await session.execute(query)}


async def read_database_clock(session: WriteSession) -> datetime:
    """The database's clock, by which is told what is due."""
    return (await session.execute(select(func.now()))).scalar_one()


async def list_timeline_entries(
    session: ReadSession, alert_id: UUID, asked: PageRequest
) -> Sequence[TimelineEntry]:
    """Read a page of an alert's timeline, and one line more."""
    query = select(TimelineEntry).where(TimelineEntry.alert_id == alert_id)
    return (await session.scalars(TIMELINE.page(query, asked))).all()


class LockedStates(NamedTuple):
    """Whose states are locked: boxes by key, and sites."""

    boxes: list[int]
    sites: list[UUID]


async def lock_states(
    session: WriteSession, rule_id: UUID | None, box_keys: Sequence[int] | None
) -> LockedStates:
    """Lock the states of boxes, or of all that a rule applies to.

    Those of boxes in the order of their keys, then that of the site.
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
        # What a rule on the whole site makes of its boxes goes on without these.
        return LockedStates(boxes, [])
    whole = select(SiteState.site_id).where(SiteState.site_id == site).with_for_update()
    return LockedStates(boxes, list((await session.scalars(whole)).all()))


async def resolve_alerts(
    session: WriteSession, rule_id: UUID | None, box_keys: Sequence[int] | None, *, reason: str, now: datetime
) -> list[AlertWithRuleName]:
    """Resolve the firing alerts of a rule, boxes, or a rule on boxes, and return them as they are now."""
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
            # A box's clock may be ahead: an alert does not end before it began.
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
    wanted = {alert.rule_id for alert in alerts}
    rows = await session.execute(select(Rule.id, Rule.name).where(Rule.id.in_(wanted)))
    names = {identifier: name for identifier, name in rows}  # noqa: C416 (dict() does not take rows as pairs)
    return [(alert, names[alert.rule_id]) for alert in sorted(alerts, key=lambda alert: alert.id)]


async def delete_index_states(
    session: WriteSession, rule_id: UUID | None, box_keys: Sequence[int] | None
) -> None:
    """Have a rule on indices, or all of some boxes, begin anew; the gate is closed."""
    concerned = (
        true() if rule_id is None else IndexState.rule_id == rule_id,
        true() if box_keys is None else IndexState.box_key.in_(box_keys),
    )
    await session.execute(delete(IndexState).where(*concerned).execution_options(synchronize_session=False))


async def clear_rule_states(session: WriteSession, locked: LockedStates, rule_id: UUID | None) -> None:
    """Put a rule, or all rules, to rest on boxes and sites whose states are locked."""
    held = (
        (BoxState, BoxState.box_key == any_(literal(locked.boxes, ARRAY(Integer)))),
        (SiteState, SiteState.site_id == any_(literal(locked.sites, ARRAY(Uuid)))),
    )
    nothing: dict[str, Any] = {}
    for table, chosen in held:
        if rule_id is None:
            statement = update(table).where(chosen, table.rules != nothing).values(rules=nothing)
        else:
            key = str(rule_id)
            without = table.rules.op("-", return_type=JSONB())(literal(key, Text))
            statement = update(table).where(chosen, table.rules.has_key(key)).values(rules=without)
        await session.execute(statement.execution_options(synchronize_session=False))
